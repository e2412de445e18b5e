/* Fusing: the thirteen patterns that PyTorch's fuse_modules knows, and those of its inference mode,
 * become one operation each by themselves: folded while fine-tuning, exact, and integer. What is no
 * pattern stays apart, and inspect says which is which. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/program.h"
#include "tests/quantized.h"
#include "tests/random_net.h"

enum { SAMPLES = 9 };

#define X1 "x = input shape=2x9\n"
#define X2 "x = input shape=2x6x5\n"
#define X3 "x = input shape=2x4x5x4\n"
#define X0 "x = input shape=4\n"

/* a is the first layer of each chain, b its batchnorm, c its relu. */
static const struct Pattern {
    const char *name, *text;
} patterns[] = {
    {"Conv1d, BatchNorm1d", X1 "a = conv1d x out=3 kernel=3\nb = batchnorm a"},
    {"Conv1d, BatchNorm1d, ReLU", X1 "a = conv1d x out=3 kernel=3\nb = batchnorm a\nc = relu b"},
    {"Conv2d, BatchNorm2d", X2 "a = conv2d x out=3 kernel=3\nb = batchnorm a"},
    {"Conv2d, BatchNorm2d, ReLU", X2 "a = conv2d x out=3 kernel=3\nb = batchnorm a\nc = relu b"},
    {"Conv3d, BatchNorm3d", X3 "a = conv3d x out=3 kernel=3\nb = batchnorm a"},
    {"Conv3d, BatchNorm3d, ReLU", X3 "a = conv3d x out=3 kernel=3\nb = batchnorm a\nc = relu b"},
    {"Conv1d, ReLU", X1 "a = conv1d x out=3 kernel=3\nc = relu a"},
    {"Conv2d, ReLU", X2 "a = conv2d x out=3 kernel=3\nc = relu a"},
    {"Conv3d, ReLU", X3 "a = conv3d x out=3 kernel=3\nc = relu a"},
    {"Linear, BatchNorm1d", X0 "a = linear x out=5\nb = batchnorm a"},
    {"Linear, ReLU", X0 "a = linear x out=5\nc = relu a"},
    {"BatchNorm2d, ReLU", X2 "a = batchnorm x\nc = relu a"},
    {"BatchNorm3d, ReLU", X3 "a = batchnorm x\nc = relu a"},
    /* of its inference mode, and of later versions */
    {"ConvTranspose1d, BatchNorm1d", X1 "a = conv_transpose1d x out=3 kernel=3\nb = batchnorm a"},
    {"ConvTranspose2d, BatchNorm2d", X2 "a = conv_transpose2d x out=3 kernel=3\nb = batchnorm a"},
    {"ConvTranspose3d, BatchNorm3d", X3 "a = conv_transpose3d x out=3 kernel=2\nb = batchnorm a"},
    {"Linear, BatchNorm1d, ReLU", X0 "a = linear x out=5\nb = batchnorm a\nc = relu b"},
    {"BatchNorm1d, ReLU", X1 "a = batchnorm x\nc = relu a"},
    {"Linear, BatchNorm1d, ReLU6", X0 "a = linear x out=5\nb = batchnorm a\nc = relu6 b"},
    {"add, ReLU", X2 "m = maxpool x kernel=1\na = add x m\nc = relu a"},
};
enum { PATTERNS = sizeof patterns / sizeof *patterns };

/* A pattern with parameters of its own, its images, and the float net's answer to them. */
typedef struct Chain {
    const struct Pattern *pattern;
    Graph *graph;
    QuantNet *net;
    const QNode *a;
    Tape *tape;
    Normalization pixels;
    uint8_t *image; /* [SAMPLES][count] */
    Tensor *x;
    float *answer; /* [results] */
    size_t count, results;
} Chain;

static Tensor *run(Chain *c, bool training) {
    Error error = {0};
    Tensor *y = graph_forward(
        c->graph, &(Run){.tape = c->tape, .training = training, .error = &error}, c->x, NULL);
    if (error.code) fail_msg("%s: %s", c->pattern->name, error.message);
    return y;
}

static Chain begin(const struct Pattern *pattern) {
    Rng rng = rng_stream((uint64_t)(pattern - patterns), RNG_TEST, 0);
    Chain c = {.pattern = pattern, .graph = quantized_graph(pattern->text), .tape = tape_new(true)};
    const Shape *shape = &c.graph->node[0].shape;
    Arena *arena = c.graph->arena;
    c.count = shape_count(shape);
    c.pixels = (Normalization){.channels = shape->dim[0]};
    for (int k = 0; k < c.pixels.channels; k++) c.pixels.mean[k] = 0.4f, c.pixels.std[k] = 0.3f;
    c.image = arena_alloc(arena, SAMPLES * c.count);
    c.x = tensor_new(arena, shape_batched(shape, SAMPLES));
    for (size_t i = 0; i < SAMPLES * c.count; i++) c.image[i] = (uint8_t)rng_next(&rng);
    normalized(&c.pixels, SAMPLES, c.count, c.image, c.x->data);
    for (int i = 0; i < c.graph->nodes; i++) { /* a batchnorm that has seen something else */
        const Node *node = &c.graph->node[i];
        if (!node_has_rule(node, "fold")) continue;
        for (size_t k = 0; k < node_tensor(node, "weight")->count; k++) {
            node_tensor(node, "weight")->data[k] = k % 2 ? 1.5f : -0.7f;
            node_tensor(node, "bias")->data[k] = 0.3f * rng_normal(&rng);
            node_tensor(node, "running_mean")->data[k] = 0.3f * rng_normal(&rng);
            node_tensor(node, "running_var")->data[k] = 0.2f + rng_uniform(&rng);
        }
    }
    const Tensor *y = run(&c, false);
    c.results = y->count;
    c.answer = arena_alloc(arena, sizeof *c.answer * y->count);
    memcpy(c.answer, y->data, sizeof *c.answer * y->count);
    tape_reset(c.tape);
    QuantConfig config = quant_config_default();
    c.net = quantized_with(c.graph, &config);
    c.a = quantized_node(c.net, "a");
    return c;
}

static void end(Chain *c) {
    tape_free(c->tape);
    quantized_free(c->net);
}

static Node *part(const Chain *c, const char *name) {
    return graph_find(c->graph, name);
}

static void each_pattern_is_one_operation(void **state) {
    (void)state;
    for (int i = 0; i < PATTERNS; i++) {
        Chain c = begin(&patterns[i]);
        const Node *b = part(&c, "b"), *r = part(&c, "c");
        if (b && (c.net->node[b->index].into != c.a->node || c.a->batchnorm != b))
            fail_msg("%s: the batchnorm is apart", c.pattern->name);
        if (r && (c.net->node[r->index].into != c.a->node || c.a->relu != r))
            fail_msg("%s: the relu is apart", c.pattern->name);
        end(&c);
    }
}

/* Not rounded, the chain is the float net: folded, sums of up to 54 products in another order, each
 * off by 2^-24 of a value below 16. */
static void folded_it_is_the_float_net(void **state) {
    (void)state;
    for (int i = 0; i < PATTERNS; i++) {
        Chain c = begin(&patterns[i]);
        const Tensor *y = run(&c, false);
        for (size_t k = 0; k < c.results; k++)
            if (!(fabsf(y->data[k] - c.answer[k]) < 54 * 16 * 0x1p-24f))
                fail_msg("%s: %g, not %g", c.pattern->name, (double)y->data[k],
                         (double)c.answer[k]);
        end(&c);
    }
}

static double squares(const Tensor *gradient) {
    double sum = 0;
    for (size_t i = 0; i < gradient->count; i++)
        sum += (double)gradient->grad[i] * (double)gradient->grad[i];
    return sum;
}

/* A step of fine-tuning sees what evaluation sees, and every trainable part of the chain learns
 * through it. */
static void training_is_folded_too(void **state) {
    (void)state;
    for (int i = 0; i < PATTERNS; i++) {
        Chain c = begin(&patterns[i]);
        calibrate_on(c.net, SAMPLES, c.x->data);
        quant_fake(c.net, true);
        const Tensor *once = run(&c, false);
        Tensor *y = run(&c, true);
        assert_memory_equal(once->data, y->data, sizeof *y->data * c.results);
        Tensor *row = op_reshape(c.tape, y, SHAPE(1, (int)c.results));
        tape_backward(
            c.tape, op_linear(c.tape, row, tensor_copy(c.tape->arena, row->shape, c.answer), NULL));
        for (int n = 0; n < c.graph->nodes; n++)
            for (int k = 0; k < c.graph->node[n].params; k++) {
                const Param *param = &c.graph->node[n].param[k];
                if (param->trainable && !(squares(param->tensor) > 0))
                    fail_msg("%s: %s.%s has no gradient", c.pattern->name, c.graph->node[n].name,
                             param->name);
            }
        end(&c);
    }
}

/* One instruction behind the pixels' table, the codes of the exact evaluation, and a result that is
 * near the float net's: rounding to 8 bits leaves more than 30 dB, a part left out not even 15. */
static void frozen_it_is_one_instruction(void **state) {
    (void)state;
    for (int i = 0; i < PATTERNS; i++) {
        Chain c = begin(&patterns[i]);
        Error error = {0};
        calibrate_on(c.net, SAMPLES, c.x->data);
        if (!quant_freeze(c.net, &error)) fail_msg("%s: %s", c.pattern->name, error.message);
        Program *program = program_build(c.net, &c.pixels, &error);
        if (!program) fail_msg("%s: %s", c.pattern->name, error.message);
        int before = part(&c, "m") != NULL; /* a maxpool before the chain */
        if (program->instrs != 2 + before)
            fail_msg("%s: %d instructions", c.pattern->name, program->instrs);
        assert_engines_agree(c.pattern->name, c.net, program, SAMPLES, c.x->data, c.image);
        void *scratch = aligned_alloc(64, program_scratch(program, SAMPLES) / 64 * 64 + 64);
        float *y = arena_alloc(c.graph->arena, sizeof *y * c.results);
        program_run(program, SAMPLES, c.image, y, scratch, NULL, NULL);
        double signal = 0, noise = 0;
        for (size_t k = 0; k < c.results; k++) {
            signal += pow((double)c.answer[k], 2);
            noise += pow((double)y[k] - (double)c.answer[k], 2);
        }
        if (!(10 * log10(signal / noise) > 30))
            fail_msg("%s: %.1f dB", c.pattern->name, 10 * log10(signal / noise));
        free(scratch);
        program_free(program);
        end(&c);
    }
}

/* --- what is said about it --- */

/* The line of inspect's table of nodes that begins with `node` says `fate`. */
static void shown(const char *node, const char *fate) {
    char *start = printed.out;
    size_t length = strlen(node);
    while (start && (strncmp(start, node, length) != 0 || start[length] != ' ' ||
                     strchr(start, '=') < strchr(start, '\n')))
        start = strchr(start, '\n') ? strchr(start, '\n') + 1 : NULL;
    if (!start) fail_msg("inspect has no line for %s", node);
    char line[256];
    snprintf(line, sizeof line, "%.*s", (int)(strchr(start, '\n') - start), start);
    if (!strstr(line, fate)) fail_msg("'%s' does not say '%s'", line, fate);
}

static void inspect_shows_what_was_joined(void **state) {
    (void)state;
    write_idx("data", 128, 64);
    file_text("fuse.net", "x   = input shape=1x12x12\n"
                          "a   = conv2d x out=4 kernel=3 padding=1\n"
                          "b   = batchnorm a\n"
                          "c   = relu b\n"
                          "b2  = batchnorm c\n" /* behind a relu, not a convolution */
                          "d   = conv2d b2 out=4 kernel=1\n"
                          "c2  = relu d\n" /* something else reads d */
                          "s   = add d c2\n"
                          "l   = leaky_relu s\n" /* no relu that a clamp is */
                          "p   = maxpool l kernel=2\n"
                          "f   = flatten p\n"
                          "fc  = linear f out=4\n");
    must("train --model fuse.net --data data --epochs 1 -o f.st -q");
    must("calibrate f.st --data data -o c.st -q");
    must_verify("c.st");
    must("inspect c.st");
    shown("b", "in a");
    shown("c", "in a");
    shown("b2", "8 bits, alone");
    shown("c2", "8 bits, alone");
    shown("l", "8 bits");
    shown("p", "codes of its input");
}

/* Who asks for a quantizer between parts that are one is told so, by every way of asking. */
static void asking_for_a_part_is_refused(void **state) {
    (void)state;
    file_text("part.json", "{\"overrides\": {\"c\": {\"activation\": {\"bits\": 4}}}}");
    refused(3, "c: it is a part of a", "calibrate f.st --data data --config part.json -o p.st -q");
    refused(2, "b: it is a part of a", "eval c.st --data data --disable-quant b");
    file_text("part.json", "{\"overrides\": {\"p\": null}}");
    refused(3, "p: maxpool layers pass on",
            "calibrate f.st --data data --config part.json -o p.st");
    assert_false(file_exists("p.st"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_pattern_is_one_operation),
        cmocka_unit_test(folded_it_is_the_float_net),
        cmocka_unit_test(training_is_folded_too),
        cmocka_unit_test(frozen_it_is_one_instruction),
        cmocka_unit_test(inspect_shows_what_was_joined),
        cmocka_unit_test(asking_for_a_part_is_refused),
    };
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
