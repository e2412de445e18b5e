/* program_fuse: what is joined, what is not, and that no output changes by a bit. That it never
 * does on random nets either, test_engines.c tests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quant/program.h"
#include "tests/random_net.h"

enum { SAMPLES = 3 };

typedef struct Net {
    Arena *arena;
    Graph *graph;
    QuantNet *quant;
    Program *program;
    uint8_t *pixels;
} Net;

static Net net_of(const char *text) {
    Error error = {0};
    Rng rng = rng_stream(11, RNG_TEST, 0);
    Net net = {.arena = arena_new(), .graph = graph_parse(text, strlen(text), "test", &error)};
    if (!net.graph) fail_msg("%s\n%s", error.message, text);
    random_parameters(&rng, net.graph);
    QuantConfig config = quant_config_default();
    net.quant = quant_prepare(net.graph, &config, &error);
    const Shape *shape = &net.graph->node[0].shape;
    size_t count = shape_count(shape);
    Normalization pixels = random_normalization(&rng, shape->dim[0]);
    float *x = arena_alloc(net.arena, SAMPLES * count * sizeof *x);
    net.pixels = arena_alloc(net.arena, SAMPLES * count);
    for (size_t i = 0; i < SAMPLES * count; i++) net.pixels[i] = (uint8_t)rng_next(&rng);
    normalized(&pixels, SAMPLES, count, net.pixels, x);
    calibrate_on(net.quant, SAMPLES, x);
    if (quant_freeze(net.quant, &error)) net.program = program_build(net.quant, &pixels, &error);
    if (!net.program) fail_msg("%s\n%s", error.message, text);
    return net;
}

static float *outputs_of(const Net *net) {
    const Value *last = &net->program->value[net->program->output];
    float *outputs = arena_alloc(net->arena, SAMPLES * last->bytes * sizeof *outputs);
    void *scratch = arena_alloc(net->arena, program_scratch(net->program, SAMPLES));
    program_run(net->program, SAMPLES, net->pixels, outputs, scratch, NULL, NULL);
    return outputs;
}

static void check(const char *text, int fewer) {
    Net net = net_of(text);
    int instrs = net.program->instrs;
    size_t bytes = net.program->value[net.program->output].bytes, scratch;
    const float *plain = outputs_of(&net);
    scratch = program_scratch(net.program, SAMPLES);
    program_fuse(net.program);
    if (net.program->instrs != instrs - fewer)
        fail_msg("%d of %d instructions are left, expected %d fewer\n%s", net.program->instrs,
                 instrs, fewer, text);
    assert_true(program_scratch(net.program, SAMPLES) <= scratch);
    assert_memory_equal(outputs_of(&net), plain, SAMPLES * bytes * sizeof *plain);
    program_free(net.program);
    quant_release(net.quant);
    graph_free(net.graph);
    arena_free(net.arena);
}

static void test_pools_are_joined(void **state) {
    (void)state;
    static const char *const nets[] = {
        "x = input shape=1x12x12\nc = conv2d x out=5 kernel=3\nr = relu c\n"
        "p = maxpool r kernel=2",
        /* positions that no window covers; a stride that leaves out some; padding of the input */
        "x = input shape=2x13x11\nc = conv2d x out=40 kernel=3 padding=1\n"
        "p = maxpool c kernel=2x3 stride=3",
        "x = input shape=3x20\nc = conv1d x out=9 kernel=5 stride=2\np = maxpool c kernel=3",
        "x = input shape=2x6x7x8\nc = conv3d x out=3 kernel=2x3x2\np = maxpool c kernel=2",
        "x = input shape=4x9x9\nc = conv2d x out=8 kernel=3 groups=4\np = maxpool c kernel=4",
    };
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) check(nets[i], 1);
    check("x = input shape=1x28x28\nc = conv2d x out=40 kernel=3\nr = relu c\n"
          "p = maxpool r kernel=2\nd = conv2d p out=10 kernel=3\ns = maxpool d kernel=2\n"
          "f = flatten s\nl = linear f out=3",
          3);
}

static void test_others_stay(void **state) {
    (void)state;
    static const char *const nets[] = {
        /* windows that overlap, or have padding or holes, or more places than a block of rows */
        "x = input shape=1x12x12\nc = conv2d x out=5 kernel=3\np = maxpool c kernel=3 stride=2",
        "x = input shape=1x12x12\nc = conv2d x out=5 kernel=3\np = maxpool c kernel=2 padding=1",
        "x = input shape=1x12x12\nc = conv2d x out=5 kernel=3\n"
        "p = maxpool c kernel=2 stride=3 dilation=2",
        "x = input shape=1x12x12\nc = conv2d x out=5 kernel=3\np = maxpool c kernel=5",
        /* the convolution's own result is read, too */
        "x = input shape=1x12x12\nc = conv2d x out=5 kernel=3\np = maxpool c kernel=2\n"
        "u = conv2d c out=5 kernel=2 stride=2\ny = add p u",
        "x = input shape=1x12x12\np = maxpool x kernel=2\nc = conv2d p out=5 kernel=3",
        /* a depthwise convolution has another kernel */
        "x = input shape=4x12x12\nc = conv2d x out=4 kernel=3 groups=4\np = maxpool c kernel=2",
    };
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) check(nets[i], 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pools_are_joined),
        cmocka_unit_test(test_others_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
