/* Convolutions of all ranks as integers, transposed ones too: random nets, at all bit widths, on
 * both engines, and every convolution of every program against its definition in 64-bit sums. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nn/layers/conv.h"
#include "nn/layers/conv_transpose.h"
#include "quant/rules/integers.h"
#include "tests/quantized.h"
#include "tests/reference.h"

enum { TRIALS = 400, IMAGES = 3, TEXT = 1024 };

/* --- random nets --- */

static int sizes_text(Rng *rng, int rank, int low, int high, char *text) {
    int used = 0;
    for (int i = 0; i < rank; i++)
        used += sprintf(text + used, "%s%d", i ? "x" : "", random_between(rng, low, high));
    return used;
}

/* A line "name = conv... from ..." with every field drawn; what does not fit is refused and drawn
 * again. */
static int conv_text(Rng *rng, int rank, const char *name, const char *from, char *text) {
    static const char *const fields[] = {"kernel", "stride", "padding", "dilation",
                                         "output_padding"};
    static const int low[] = {1, 1, 0, 1, 0}, high[] = {3, 3, 2, 3, 2};
    bool transposed = random_between(rng, 0, 1);
    int groups = random_between(rng, 1, 3), used;
    used = sprintf(text, "%s = conv%s%dd %s out=%d groups=%d bias=%s", name,
                   transposed ? "_transpose" : "", rank, from, groups * random_between(rng, 1, 3),
                   groups, random_between(rng, 0, 3) ? "true" : "false");
    for (int i = 0; i < 4 + transposed; i++) {
        used += sprintf(text + used, " %s=", fields[i]);
        used += sizes_text(rng, rank, low[i], high[i], text + used);
    }
    return used + sprintf(text + used, "\n");
}

static void net_text(Rng *rng, char *text) {
    int rank = random_between(rng, 1, 3), used;
    const char *last = "c";
    used = sprintf(text, "x = input shape=%dx", random_between(rng, 1, 4));
    used += sizes_text(rng, rank, rank == 1 ? 5 : 2, 12 / rank, text + used);
    used += sprintf(text + used, "\n");
    used += conv_text(rng, rank, "a", "x", text + used);
    used += sprintf(text + used,
                    random_between(rng, 0, 2) ? "n = batchnorm a\nr = relu n\n" : "r = relu a\n");
    const char *from = "r";
    if (random_between(rng, 0, 1)) {
        used += sprintf(text + used, "p = %spool r kernel=2 stride=1\n",
                        random_between(rng, 0, 1) ? "max" : "avg");
        from = "p";
    }
    used += conv_text(rng, rank, "c", from, text + used);
    if (random_between(rng, 0, 1)) {
        used += sprintf(text + used, "m = batchnorm c\n");
        last = "m";
    }
    if (random_between(rng, 0, 1))
        sprintf(text + used, "g = globalavgpool %s\nf = flatten g\n", last);
}

static Graph *random_graph(Rng *rng) {
    for (;;) {
        char text[TEXT] = "";
        Error error = {0};
        net_text(rng, text);
        Graph *graph = graph_parse(text, strlen(text), "random", &error);
        size_t most = 0;
        for (int i = 0; graph && i < graph->nodes; i++) {
            size_t count = shape_count(&graph->node[i].shape);
            most = count > most ? count : most;
        }
        if (most > 0 && most < 3000) return graph;
        graph_free(graph);
    }
}

/* Weights of PyTorch's sizes; statistics, gamma and beta of order 1, a gamma of 0 and negative ones
 * among them. */
static void fill_parameters(Graph *graph, Rng *rng) {
    graph_init(graph, rng_next(rng));
    for (int i = 0; i < graph->nodes; i++) {
        if (strcmp(graph->node[i].layer->name, "batchnorm") != 0) continue;
        Param *p = graph->node[i].param;
        for (int k = 0; k < 4; k++)
            for (size_t c = 0; c < p[k].tensor->count; c++) {
                float normal = rng_normal(rng);
                p[k].tensor->data[c] = k == 3                             ? 0.1f + normal * normal
                                       : k == 0 && rng_below(rng, 6) == 0 ? 0
                                                                          : normal;
            }
    }
}

typedef struct Net {
    Graph *graph;
    QuantNet *quant;
    Program *program;
    Tape *tape;
    float *x;
    uint8_t *pixels;
} Net;

static QuantConfig random_config(Rng *rng) {
    QuantConfig config = quant_config_default();
    config.activation.bits = random_between(rng, BITS_LEAST, BITS_MOST);
    config.weight.bits = random_between(rng, BITS_LEAST, BITS_MOST);
    config.weight.per_channel = random_between(rng, 0, 1);
    config.edge_bits = random_between(rng, BITS_LEAST, BITS_MOST);
    config.activation.is_signed = random_between(rng, 0, 1);
    config.activation.symmetric = config.activation.is_signed && random_between(rng, 0, 1);
    return config;
}

/* Random pixels, normalised with a mean and deviation for each channel; calibrated on them and
 * frozen. */
static Net freeze_net(Graph *graph, const QuantConfig *config, Rng *rng) {
    Error error = {0};
    Net net = {.graph = graph, .tape = tape_new(false)};
    const Shape *input = &graph->node[0].shape;
    size_t count = IMAGES * shape_count(input), plane = shape_count(input) / (size_t)input->dim[0];
    Normalization pixels = {.channels = input->dim[0]};
    for (int c = 0; c < pixels.channels; c++) {
        pixels.mean[c] = rng_uniform(rng);
        pixels.std[c] = 0.1f + rng_uniform(rng);
    }
    net.x = arena_alloc(graph->arena, count * sizeof *net.x);
    net.pixels = arena_alloc(graph->arena, count);
    for (size_t i = 0; i < count; i++) {
        size_t c = i / plane % (size_t)pixels.channels;
        net.pixels[i] = (uint8_t)rng_next(rng);
        net.x[i] = normalize_byte(net.pixels[i], pixels.mean[c], pixels.std[c]);
    }
    net.quant = quant_prepare(graph, config, &error);
    if (!net.quant) fail_msg("%s", error.message);
    quant_observe(net.quant, true);
    Tensor *x = tensor_copy(net.tape->arena, shape_batched(input, IMAGES), net.x);
    graph_forward(graph, &(Run){.tape = net.tape, .error = &error}, x, NULL);
    quant_observe(net.quant, false);
    bool ok = quant_select(net.quant, method_find("minmax"), 0, &error) &&
              quant_freeze(net.quant, &error);
    net.program = ok ? program_build(net.quant, &pixels, &error) : NULL;
    if (!net.program) fail_msg("%s", error.message);
    return net;
}

static void net_free(Net *net) {
    program_free(net->program);
    quant_release(net->quant);
    tape_free(net->tape);
    graph_free(net->graph);
}

/* --- the definition --- */

/* Adds every product of a convolution to the output that it belongs to: acc[O][positions]. The
 * window moves over the fine side, stopping at the coarse one: the input is the fine side of a
 * convolution and the coarse one of a transposed one. x[positions][C] as the program has it. */
static void add_products(const QNode *q, const Window *window, int groups, bool transposed,
                         const uint8_t *x, int64_t *acc) {
    const WeightedIntegers *w = q->integers;
    Shape in = shape_batched(&q->from[0]->shape, 1), out = shape_batched(&q->node->shape, 1);
    Patches p = {.window = window};
    window_sizes(transposed ? &out : &in, p.in);
    window_sizes(transposed ? &in : &out, p.out);
    int channels = in.dim[1], outputs = out.dim[1], places = patches_places(&p);
    int64_t positions = (int64_t)(shape_count(&out) / (size_t)outputs),
            zero = quantizer_zero(q->in[0]);
    for (int c = 0; c < channels; c++)
        for (int o = 0; o < outputs; o++) {
            if (c / (channels / groups) != o / (outputs / groups)) continue;
            int row = transposed ? c * (outputs / groups) + o % (outputs / groups)
                                 : o * (channels / groups) + c % (channels / groups);
            for (int coarse = 0; coarse < patches_columns(&p); coarse++)
                for (int k = 0; k < places; k++) {
                    int fine = window_source(&p, k, coarse);
                    if (fine < 0) continue;
                    int from = transposed ? coarse : fine, to = transposed ? fine : coarse;
                    acc[o * positions + to] +=
                        (x[from * channels + c] - zero) * w->stored[row * places + k];
                }
        }
}

static void check_conv(const QNode *q, const uint8_t *x, const uint8_t *y) {
    const WeightedIntegers *w = q->integers;
    bool transposed = strstr(q->node->layer->name, "transpose");
    const ConvLayerSpec *conv = q->node->spec;
    const ConvTransposeLayerSpec *transpose = q->node->spec;
    size_t outputs = (size_t)w->outputs, positions = shape_count(&q->node->shape) / outputs;
    int64_t *acc = calloc(outputs * positions, sizeof *acc);
    if (transposed)
        add_products(q, &transpose->map.window, transpose->map.groups, true, x, acc);
    else
        add_products(q, &conv->window, conv->groups, false, x, acc);
    for (size_t o = 0; o < outputs; o++)
        for (size_t p = 0; p < positions; p++) {
            int64_t sum = acc[o * positions + p] + w->bias[o];
            assert_true(llabs(sum) < INT64_C(1) << 31);
            int64_t code = quantizer_zero(q->out) +
                           round_shift(sum * w->multiplier[o].m0, w->multiplier[o].shift);
            int64_t lo = q->relu ? quantizer_zero(q->out) : 0, hi = quantizer_top(q->out);
            code = code < lo ? lo : code > hi ? hi : code;
            if (y[p * outputs + o] != code)
                fail_msg("%s, output %zu, position %zu: %d, not %lld", q->node->name, o, p,
                         y[p * outputs + o], (long long)code);
        }
    free(acc);
}

typedef struct Walk {
    Net *net;
    const uint8_t *bytes[GRAPH_MAX_NODES]; /* [program->values], of all samples */
    int checked, nodes[8];
} Walk;

static void check_value(void *context, const Value *value, int samples, const uint8_t *bytes) {
    Walk *walk = context;
    const Program *program = walk->net->program;
    long v = value - program->value;
    size_t all = (size_t)samples * value->bytes;
    walk->bytes[v] = memcpy(arena_alloc(walk->net->graph->arena, all), bytes, all);
    const Node *node = graph_find(walk->net->graph, value->name);
    if (strncmp(node->layer->name, "conv", 4) != 0) return;
    for (int i = 0; i < program->instrs; i++) {
        const Instr *instr = &program->instr[i];
        if (instr->out != v) continue;
        const Value *in = &program->value[instr->in[0]];
        for (int n = 0; n < samples; n++)
            check_conv(&walk->net->quant->node[node->index],
                       walk->bytes[instr->in[0]] + (size_t)n * in->bytes,
                       bytes + (size_t)n * value->bytes);
        walk->checked++;
    }
}

/* --- tests --- */

static void test_random_nets(void **state) {
    (void)state;
    Rng rng = rng_stream(2, RNG_TEST, 0);
    int seen[2][SPATIAL] = {0}; /* layers met: plain and transposed, by rank */
    for (int trial = 0; trial < TRIALS; trial++) {
        Graph *graph = random_graph(&rng);
        fill_parameters(graph, &rng);
        QuantConfig config = random_config(&rng);
        Net net = freeze_net(graph, &config, &rng);
        Arena *arena = graph->arena;
        void *scratch = arena_alloc(arena, program_scratch(net.program, IMAGES));
        assert_engines_agree(graph_text(graph, arena), net.quant, net.program, IMAGES, net.x,
                             net.pixels);

        Walk walk = {.net = &net};
        size_t outputs = shape_count(&graph_output(graph)->shape);
        float *logits = arena_alloc(arena, sizeof *logits * IMAGES * outputs);
        program_run(net.program, IMAGES, net.pixels, logits, scratch, check_value, &walk);
        assert_int_equal(walk.checked, 2);
        for (int i = 0; i < graph->nodes; i++)
            if (strncmp(graph->node[i].layer->name, "conv", 4) == 0)
                seen[graph->node[i].layer->layout != NULL][graph->node[i].layer->spatial - 1]++;
        net_free(&net);
    }
    for (int i = 0; i < 2 * SPATIAL; i++) assert_true(seen[i / SPATIAL][i % SPATIAL] > TRIALS / 10);
}

/* Each output channel's scale is its own largest weight's, by the definition of its channel. */
static void test_scale_of_each_channel(void **state) {
    (void)state;
    Rng rng = rng_stream(3, RNG_TEST, 0);
    const char *text =
        "x = input shape=4x3x3\nt = conv_transpose2d x out=6 kernel=2 groups=2 bias=false\n";
    Error error = {0};
    Graph *graph = graph_parse(text, strlen(text), "test", &error);
    assert_non_null(graph);
    Tensor *w = node_tensor(&graph->node[1], "weight"); /* [4][3][2][2] */
    float largest[6] = {0};
    for (size_t i = 0; i < w->count; i++) {
        size_t o = i / 4 % 3 + i / 24 * 3;
        w->data[i] = rng_normal(&rng) * (float)(1 + 10 * o);
        largest[o] = fmaxf(largest[o], fabsf(w->data[i]));
    }
    QuantConfig config = quant_config_default();
    Net net = freeze_net(graph, &config, &rng);
    const WeightedIntegers *integers = net.quant->node[1].integers;
    assert_int_equal(integers->grid.channels, 6);
    for (size_t i = 0; i < w->count; i++) {
        size_t o = i / 4 % 3 + i / 24 * 3;
        assert_true(integers->grid.scale[o] == (float)((double)largest[o] / 127));
        assert_int_equal(integers->stored[i], quantize(&integers->grid, (int)o, w->data[i]));
    }
    IntegerArray array[RULE_ARRAYS]; /* a file keeps PyTorch's layout */
    net.quant->node[1].rule->arrays(&net.quant->node[1], array);
    assert_true(shape_equal(&array[0].shape, &w->shape));
    assert_ptr_equal(array[0].data, integers->stored);
    net_free(&net);
}

/* All weights of an output at 127 and codes up to 255: 2^31 is passed between 66 311 and 66 312 of
 * them. */
static void test_overflow_is_proven(void **state) {
    (void)state;
    for (int channels = 663; channels <= 664; channels++) {
        char text[TEXT];
        Error error = {0};
        sprintf(text,
                "x = input shape=1x2x2\nc = conv2d x out=%d kernel=1\nt = conv_transpose2d c out=1 "
                "kernel=10 "
                "stride=3\n",
                channels);
        Graph *graph = graph_parse(text, strlen(text), "test", &error);
        assert_non_null(graph);
        for (int i = 1; i < 3; i++) {
            Tensor *w = node_tensor(&graph->node[i], "weight");
            for (size_t k = 0; k < w->count; k++) w->data[k] = 1;
        }
        QuantConfig config = quant_config_default();
        QuantNet *net = quant_prepare(graph, &config, &error);
        assert_non_null(net);
        quant_observe(net, true);
        Tape *tape = tape_new(false);
        Tensor *x = tensor_copy(tape->arena, SHAPE(1, 1, 2, 2), (float[]){0, 0.5f, 1, 0.25f});
        graph_forward(graph, &(Run){.tape = tape, .error = &error}, x, NULL);
        assert_true(quant_select(net, method_find("minmax"), 0, &error));
        bool fits = quant_freeze(net, &error);
        assert_int_equal(fits, channels == 663);
        if (!fits) assert_non_null(strstr(error.message, "t: the sum of output 0 can reach"));
        tape_free(tape);
        quant_release(net);
        graph_free(graph);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_nets),
        cmocka_unit_test(test_scale_of_each_channel),
        cmocka_unit_test(test_overflow_is_proven),
    };
    return cmocka_run_group_tests(tests, NULL, stop_pool);
}
