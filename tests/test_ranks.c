/* Layers that have one definition for 1, 2 and 3 dimensions, as integers where random nets of two
 * (test_engines.c) do not come: the program, the exact walk and naive loops give the same codes.
 * Transposed convolutions have a test of their own (test_convs_int.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/naive_integers.h"
#include "tests/quantized.h"
#include "tests/random_net.h"

enum { SAMPLES = 9 };

static const char *const layers[] = {
    "maxpool x kernel=2",
    "maxpool x kernel=3 stride=2 padding=1",
    "maxpool x kernel=2 stride=1 dilation=2",
    "maxpool x kernel=3 padding=0:2",
    "avgpool x kernel=2",
    "avgpool x kernel=3 stride=2 padding=1 count_include_pad=false",
    "avgpool x kernel=2 padding=0:1 count_include_pad=false",
    "avgpool x kernel=3 stride=2 padding=1",
    "globalavgpool x",
    "adaptiveavgpool x out=2",
    "batchnorm x",
    "batchnorm x\nr = relu y",
    "softmax x",
    "sigmoid x",
    "hardswish x",
    "leaky_relu x",
    "elu x",
    "tanh x",
    "relu6 x",
    "hardtanh x max_val=0.5",
    "relu x",
    "add x x",
    "mul x x",
    "concat x x",
    "dropout x",
    "conv%dd x out=4 kernel=3 padding=1 stride=2",
    "conv%dd x out=4 kernel=2 padding=1:0 stride=2",
    "conv%dd x out=3 kernel=2 dilation=2 bias=false\nb = batchnorm y\nr = relu b",
};
enum { LAYERS = sizeof layers / sizeof *layers };

/* What the naive loops say of each image. */
typedef struct Naive {
    const QuantNet *net;
    const char *text;
    int64_t *code[SAMPLES][GRAPH_MAX_NODES];
} Naive;

static void tap(void *context, const Value *value, int samples, const uint8_t *bytes) {
    const Naive *naive = context;
    const Node *node = graph_find(naive->net->graph, value->name);
    int qmin = naive->net->node[node->index].out->q.qmin;
    size_t channels = (size_t)value->channels, positions = (size_t)value->positions;
    for (int n = 0; n < samples; n++)
        for (size_t c = 0; c < channels; c++)
            for (size_t p = 0; p < positions; p++) {
                int64_t want = naive->code[n][node->index][c * positions + p];
                int64_t got = bytes[(size_t)n * value->bytes + p * channels + c] + qmin;
                if (got != want)
                    fail_msg("%s\n%s, channel %zu, position %zu: %lld, naively %lld", naive->text,
                             value->name, c, p, (long long)got, (long long)want);
            }
}

static void engines_agree(const char *text) {
    Rng rng = rng_stream(3, RNG_TEST, 0);
    Error error = {0};
    Graph *graph = quantized_graph(text);
    random_parameters(&rng, graph);
    QuantConfig config = quant_config_default();
    QuantNet *net = quantized_with(graph, &config);
    Arena *arena = arena_new();
    const Shape *shape = &graph->node[0].shape;
    size_t count = shape_count(shape);
    Normalization pixels = random_normalization(&rng, shape->dim[0]);
    uint8_t *image = arena_alloc(arena, SAMPLES * count);
    float *x = arena_alloc(arena, SAMPLES * count * sizeof *x);
    random_pixels(&rng, SAMPLES, count, image);
    normalized(&pixels, SAMPLES, count, image, x);
    calibrate_on(net, SAMPLES, x);
    if (!quant_freeze(net, &error)) fail_msg("%s\n%s", text, error.message);
    Program *program = program_build(net, &pixels, &error);
    if (!program) fail_msg("%s\n%s", text, error.message);

    Naive *naive = arena_alloc(arena, sizeof *naive);
    *naive = (Naive){.net = net, .text = text};
    for (int n = 0; n < SAMPLES; n++)
        naive_codes(net, &pixels, image + (size_t)n * count, arena, naive->code[n]);
    const Value *last = &program->value[program->output];
    float *y = arena_alloc(arena, SAMPLES * last->bytes * sizeof *y);
    void *scratch = aligned_alloc(64, program_scratch(program, SAMPLES) / 64 * 64 + 64);
    program_run(program, SAMPLES, image, y, scratch, tap, naive);

    assert_engines_agree(text, net, program, SAMPLES, x, image);
    free(scratch);
    program_free(program);
    quantized_free(net);
    arena_free(arena);
}

static void one_and_three_dimensions(void **state) {
    (void)state;
    static const char *const shapes[] = {"3x8", "2x6x4x8"};
    for (int i = 0; i < 2 * LAYERS; i++) {
        char layer[128], text[256];
        snprintf(layer, sizeof layer, layers[i / 2], i % 2 ? 3 : 1);
        snprintf(text, sizeof text, "x = input shape=%s\ny = %s", shapes[i % 2], layer);
        engines_agree(text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_and_three_dimensions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
