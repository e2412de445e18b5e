/* Freezing derives integers, proves that they fit, names what does not, and touches nothing of the
 * model; nor does evaluating. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quant/program.h"
#include "quant/rules/integers.h"
#include "tests/quantized.h"
#include "tests/random_net.h"
#include "tests/scratch.h"

#define IMAGE "x = input shape=2x6x6\n"
#define FLAT  "x = input shape=7\n"

static Tensor *forward(const QuantNet *net, Tape *tape, const float *x) {
    Error error = {0};
    Shape shape = shape_batched(&net->graph->node[0].shape, QUANTIZED_SAMPLES);
    Tensor *y = graph_forward(net->graph, &(Run){.tape = tape, .error = &error},
                              tensor_copy(tape->arena, shape, x), NULL);
    assert_int_equal(error.code, ERROR_NONE);
    return y;
}

static void freeze_needs_every_range(void **state) {
    (void)state;
    QuantNet *net = quantized_net(FLAT "a = linear x out=3\nfc = linear a out=2");
    Error error = {0};
    assert_false(quant_freeze(net, &error));
    assert_error(&error, ERROR_INPUT, "x: ");
    quantized_ranges(net, -1, 1);
    quantized_node(net, "a")->out->ready = false;
    error = (Error){0};
    assert_false(quant_freeze(net, &error));
    assert_error(&error, ERROR_INPUT, "a: ");
    quantized_free(net);
}

/* Bytes hold 8 bits: more are simulated, and have no integer program. */
static void wide_codes_have_no_program(void **state) {
    (void)state;
    for (int which = 0; which < 3; which++) {
        QuantConfig config = quant_config_default();
        *(which == 0   ? &config.edge_bits
          : which == 1 ? &config.activation.bits
                       : &config.weight.bits) = 9;
        QuantNet *net = quantized_with(
            quantized_graph(FLAT "a = linear x out=3\nfc = linear a out=2"), &config);
        quantized_calibrate(net); /* which does simulate it */
        Error error = {0};
        assert_false(quant_integral(net, &error));
        assert_error(&error, ERROR_INPUT, "more than 8 bits");
        quantized_free(net);
    }
}

/* One output of `depth` weights of 1, codes 127 by a scale of 1; pixels 0 .. 255 by a scale of 1;
 * so the bias is its own code, and the sum can reach 127 * 255 * depth + bias. */
static bool freezes_with(int depth, float bias, int channels, Error *error) {
    char text[160];
    snprintf(text, sizeof text, "x = input shape=%d\na = linear x out=%d", depth, channels);
    QuantNet *net = quantized_net(text);
    quantized_ranges(net, 0, 255);
    Tensor *weight = node_tensor(graph_find(net->graph, "a"), "weight");
    Tensor *b = node_tensor(graph_find(net->graph, "a"), "bias");
    for (size_t i = 0; i < weight->count; i++)
        weight->data[i] =
            i + (size_t)depth < weight->count ? 1 : 127; /* earlier outputs are harmless */
    for (size_t o = 0; o < b->count; o++) b->data[o] = o + 1 < b->count ? 0 : bias;
    for (int o = 0; o + 1 < channels; o++)
        for (int k = 1; k < depth; k++) weight->data[o * depth + k] = 0;
    bool frozen = quant_freeze(net, error);
    if (frozen) {
        const WeightedIntegers *w = quantized_node(net, "a")->integers;
        assert_int_equal(w->weight[weight->count - 1], 127);
        assert_int_equal(w->bias[b->count - 1], (int32_t)bias);
    }
    quantized_free(net);
    return frozen;
}

static void overflow_is_proven_to_the_unit(void **state) {
    (void)state;
    enum { MOST = 66311 }; /* the most weights of 127 that codes up to 255 allow in 2^31 - 1 */
    const int64_t unit = 127 * 255, room = INT32_MAX - unit * MOST;
    assert_true(room >= 0 && room < unit);
    for (int channels = 1; channels <= 3; channels += 2) {
        Error error = {0};
        assert_true(freezes_with(MOST, 0, channels, &error));
        assert_true(freezes_with(MOST, (float)room, channels, &error));
        assert_true(freezes_with(MOST, (float)-room, channels, &error));
        assert_int_equal(error.code, ERROR_NONE);
        assert_false(freezes_with(MOST, (float)(room + 1), channels, &error));
        assert_error(&error, ERROR_INPUT,
                     channels == 1 ? "a: the sum of output 0" : "a: the sum of output 2");
        error = (Error){0};
        assert_false(freezes_with(MOST, (float)(-room - 1), channels, &error));
        error = (Error){0};
        assert_false(freezes_with(MOST + 1, 0, channels, &error));
        assert_error(&error, ERROR_INPUT, "a: ");
    }
}

static void ratios_out_of_range_are_refused(void **state) {
    (void)state;
    static const char *const texts[] = {FLAT "a = linear x out=3", FLAT "d = relu x\na = add x d",
                                        IMAGE "a = avgpool x kernel=2"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (int high = 0; high < 2; high++) {
            QuantNet *net = quantized_net(texts[i]);
            quantized_ranges(net, 0, 1);
            Quantizer *out =
                quantized_node(net, "a")->out; /* a ratio of 2^30 and more, or one near 0 */
            out->seen.max = high ? 1e-12f : 1e25f;
            quantizer_update(out);
            Error error = {0};
            assert_int_equal(quant_freeze(net, &error), !high);
            if (high) assert_error(&error, ERROR_INPUT, "a: ");
            quantized_free(net);
        }
}

static void weights_that_are_no_numbers_are_refused(void **state) {
    (void)state;
    static const char *const names[] = {"weight", "bias"};
    for (int i = 0; i < 4; i++) {
        QuantNet *net = quantized_net(FLAT "a = linear x out=3");
        quantized_ranges(net, -1, 1);
        node_tensor(graph_find(net->graph, "a"), names[i % 2])->data[1] = i < 2 ? NAN : INFINITY;
        Error error = {0};
        assert_false(quant_freeze(net, &error));
        assert_error(&error, ERROR_INPUT, "a: ");
        quantized_free(net);
    }
}

/* All weights of a channel are 0 and its bias is large: the scale is the one that the bias asks
 * for. */
static void dead_channels_keep_their_bias(void **state) {
    (void)state;
    static const float biases[] = {0, 1e-44f, 1e-32f, 1e-6f, -1, 1e6f, -1e9f};
    for (int per_channel = 0; per_channel < 2; per_channel++)
        for (size_t i = 0; i < sizeof biases / sizeof *biases; i++) {
            QuantConfig config = quant_config_default();
            config.weight.per_channel = per_channel;
            QuantNet *net = quantized_with(quantized_graph(FLAT "a = linear x out=2"), &config);
            Tensor *weight = node_tensor(graph_find(net->graph, "a"), "weight");
            Tensor *bias = node_tensor(graph_find(net->graph, "a"), "bias");
            for (int k = 0; k < 7; k++) weight->data[k] *= per_channel ? 0 : 1e-9f; /* output 0 */
            bias->data[0] = biases[i];
            quantized_calibrate(net);
            quantized_freeze(net);
            const WeightedIntegers *w = quantized_node(net, "a")->integers;
            float scale = quantized_node(net, "x")->out->q.scale[0] * w->grid.scale[0];
            assert_true(w->grid.scale[0] >= FLT_MIN);
            assert_true(abs(w->bias[0]) <= 1 << 30);
            if (per_channel && biases[i] == 0) assert_true(w->grid.scale[0] == 1);
            /* the code stands for the bias: half a step away, and the roundings of scale and
             * product */
            assert_true(fabsf((float)w->bias[0] * scale - biases[i]) <=
                        0.5f * scale + 4 * 0x1p-24f * fabsf(biases[i]));
            quant_exact(net);
            Tape *tape = tape_new(false);
            const float x[QUANTIZED_SAMPLES * 7] = {1, -1};
            const Tensor *y = forward(net, tape, x);
            float step = quantized_node(net, "a")->out->q.scale[0];
            assert_true(floats_finite(y->data, y->count));
            /* half a step of the output's grid and the same roundings */
            if (per_channel) assert_true(fabsf(y->data[0] - biases[i]) <= 0.5001f * step);
            tape_free(tape);
            quantized_free(net);
        }
}

/* --- nothing but the integers is made --- */

/* All that a model consists of: parameters, statistics, ranges, scales. */
static size_t model_bytes(const QuantNet *net, char *bytes, size_t room) {
    size_t used = 0;
#define KEEP(data, count)                                                                          \
    do {                                                                                           \
        size_t size = (count) * sizeof *(data);                                                    \
        assert_true(used + size <= room);                                                          \
        memcpy(bytes + used, data, size);                                                          \
        used += size;                                                                              \
    } while (0)
    for (int i = 0; i < net->graph->nodes; i++)
        for (int k = 0; k < net->graph->node[i].params; k++) {
            const Tensor *t = net->graph->node[i].param[k].tensor;
            assert_null(t->grad);
            KEEP(t->data, t->count);
        }
    for (int i = 0; i < net->quantizers; i++) {
        const Quantizer *q = net->quantizer[i];
        KEEP(q, 1);
        KEEP(q->q.scale, 1);
        KEEP(q->q.zero_point, 1);
    }
#undef KEEP
    return used;
}

enum { ROOM = 1 << 20 };

/* Freezing and evaluating change no byte of the model, and doing them again gives the same. */
static void freezing_and_evaluating_change_nothing(void **state) {
    (void)state;
    char *before = malloc(ROOM), *after = malloc(ROOM), text[RANDOM_NET_TEXT];
    for (uint64_t seed = 0; seed < 30; seed++) {
        Rng rng = rng_stream(seed, RNG_TEST, 99);
        random_net(&rng, text);
        QuantNet *net = quantized_net(text);
        quantized_calibrate(net);
        size_t size = model_bytes(net, before, ROOM);
        size_t count = QUANTIZED_SAMPLES * shape_count(&net->graph->node[0].shape);
        float *x = arena_alloc(net->graph->arena, count * sizeof *x), *first = NULL;
        for (size_t i = 0; i < count; i++) x[i] = 3 * rng_normal(&rng);
        Tape *tape = tape_new(false);
        for (int round = 0; round < 3; round++) {
            quantized_freeze(net);
            quant_exact(net);
            tape_reset(tape);
            const Tensor *y = forward(net, tape, x);
            size_t bytes = y->count * sizeof *first;
            if (!first) first = memcpy(arena_alloc(net->graph->arena, bytes), y->data, bytes);
            assert_memory_equal(y->data, first, bytes);
            quant_simulate(net);
            tape_reset(tape);
            forward(net, tape, x);
            assert_int_equal(model_bytes(net, after, ROOM), size);
            assert_memory_equal(before, after, size);
        }
        tape_free(tape);
        quantized_free(net);
    }
    free(before);
    free(after);
}

static void freezing_twice_gives_the_same_integers(void **state) {
    (void)state;
    QuantNet *net =
        quantized_net(IMAGE "a = conv2d x out=5 kernel=3\nb = batchnorm a\nf = flatten b\n"
                            "fc = linear f out=4");
    quantized_calibrate(net);
    Program *program[2];
    for (int i = 0; i < 2; i++) {
        Error error = {0};
        assert_true(quant_freeze(net, &error));
        program[i] = program_build(net, &(Normalization){2, {0, 0}, {1, 1}}, &error);
        assert_non_null(program[i]);
    }
    Arena *arena = arena_new();
    const WeightedIntegers *w = quantized_node(net, "a")->integers;
    WeightedIntegers kept = *w;
    kept.weight = memcpy(arena_alloc(arena, 90), w->weight, 90);
    kept.bias = memcpy(arena_alloc(arena, 20), w->bias, 20);
    kept.multiplier =
        memcpy(arena_alloc(arena, 5 * sizeof(Multiplier)), w->multiplier, 5 * sizeof(Multiplier));
    assert_true(quant_freeze(net, NULL));
    w = quantized_node(net, "a")->integers;
    assert_memory_equal(w->weight, kept.weight, 90);
    assert_memory_equal(w->bias, kept.bias, 20);
    assert_memory_equal(w->multiplier, kept.multiplier, 5 * sizeof(Multiplier));
    assert_int_equal(w->largest, kept.largest);
    assert_string_equal(program_text(program[0], arena), program_text(program[1], arena));
    program_free(program[0]);
    program_free(program[1]);
    arena_free(arena);
    quantized_free(net);
}

static void exact_evaluation_refuses_nan(void **state) {
    (void)state;
    QuantNet *net = quantized_net(FLAT "a = linear x out=3");
    quantized_calibrate(net);
    assert_true(quant_freeze(net, NULL));
    quant_exact(net);
    Tape *tape = tape_new(false);
    Error error = {0};
    Tensor *x = tensor_zeros(tape->arena, SHAPE(2, 7));
    x->data[9] = NAN;
    graph_forward(net->graph, &(Run){.tape = tape, .error = &error}, x, NULL);
    assert_error(&error, ERROR_INPUT, "x: ");
    tape_free(tape);
    quantized_free(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(freeze_needs_every_range),
        cmocka_unit_test(wide_codes_have_no_program),
        cmocka_unit_test(overflow_is_proven_to_the_unit),
        cmocka_unit_test(ratios_out_of_range_are_refused),
        cmocka_unit_test(weights_that_are_no_numbers_are_refused),
        cmocka_unit_test(dead_channels_keep_their_bias),
        cmocka_unit_test(freezing_and_evaluating_change_nothing),
        cmocka_unit_test(freezing_twice_gives_the_same_integers),
        cmocka_unit_test(exact_evaluation_refuses_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
