/* Configured grids in both engines: affine weights of every width, presets, mixed bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>

#include "quant/rules/integers.h"
#include "quant/rules/weighted.h"
#include "tests/configured.h"
#include "tests/scratch.h"

/* Weights of every kind of grid and every width: the two engines agree, before and after the file.
 */
static void test_affine_weights(void **state) {
    (void)state;
    for (int bits = 2; bits <= 8; bits++)
        for (int kind = 0; kind < 8; kind++) {
            char text[400];
            snprintf(text, sizeof text,
                     "{\"activation\": {\"bits\": %d}, \"weight\": {\"bits\": %d, \"signed\": %s, "
                     "\"symmetric\": false,"
                     " \"per_channel\": %s, \"scale_amax\": %s}}",
                     bits, bits, kind & 1 ? "true" : "false", kind & 2 ? "true" : "false",
                     kind & 4 ? "0.6" : "null");
            Model *model = configured(text, (uint64_t)(bits * 8 + kind));
            /* one-sided weights: zero points at an end of the codes */
            Tensor *w = node_tensor(graph_find(model->graph, "c2"), "weight");
            for (size_t i = 0; i < w->count; i++) w->data[i] = fabsf(w->data[i]);
            configured_engines_agree(model, text);
            const WeightedIntegers *one = qnode(model, "c2")->integers;
            assert_int_equal(one->grid.zero_point[0], one->grid.qmin);
            assert_true(one->grid.qmin == -(1 << (bits - 1)));

            Error error = {0};
            assert_true(model_freeze(model, &error));
            if (!model_save(model, scratch_path("m"), 0, NULL, &error))
                fail_msg("%s", error.message);
            Model *loaded = model_load(scratch_path("m"), &error);
            if (!loaded) fail_msg("%s", error.message);
            const WeightedIntegers *other = qnode(loaded, "c2")->integers;
            assert_memory_equal(one->weight, other->weight,
                                (size_t)one->outputs * (size_t)one->depth);
            assert_memory_equal(one->grid.zero_point, other->grid.zero_point, sizeof(int32_t));
            configured_engines_agree(loaded, text);
            model_free(loaded);
            model_free(model);
        }
}

/* Codes of unsigned and signed affine weights stand for the same reals; both are what fake
 * quantization gives. */
static void test_affine_weights_by_hand(void **state) {
    (void)state;
    Model *model = configured("{\"weight\": {\"bits\": 8, \"signed\": false, \"symmetric\": false, "
                              "\"per_channel\": false}}",
                              3);
    Tensor *w = node_tensor(graph_find(model->graph, "fc"), "weight");
    for (size_t i = 0; i < w->count; i++) w->data[i] = i % 2 ? 0.5f : 1.55f;
    w->data[0] = -1;
    Error error = {0};
    assert_true(quant_freeze(model->quant, &error));
    const WeightedIntegers *integers = qnode(model, "fc")->integers;
    /* S = 2.55 / 255 = 0.01, unsigned Z = 100: codes 0, 150 and 255, kept as -128, 22 and 127 */
    assert_true(integers->grid.scale[0] == (float)((1.55f + 1.0) / 255));
    assert_int_equal(integers->grid.zero_point[0], 100 - 128);
    assert_int_equal(integers->weight[0], -128);
    assert_int_equal(integers->weight[1], 150 - 128);
    assert_int_equal(integers->weight[2], 127);
    configured_engines_agree(model, "by hand");
    model_free(model);
}

/* sum of (FQ(w) - w)^2 of channel c */
static double rounding_error(const Folded *folded, int c) {
    const QParams *grid = &folded->grid;
    size_t count = folded->weight->count / (size_t)grid->channels;
    const float *w = folded->weight->data + (size_t)c * count;
    double sum = 0;
    for (size_t k = 0; k < count; k++) {
        double error = (double)(dequantize(grid, c, quantize(grid, c, w[k])) - w[k]);
        sum += error * error;
    }
    return sum;
}

/* LSQ of affine weights begins with grids that are no worse than N3's, zero points and all; both
 * engines take them, before and after the file. */
static void test_learned_affine_weights(void **state) {
    (void)state;
    for (int bits = 2; bits <= 8; bits++)
        for (int per_channel = 0; per_channel < 2; per_channel++) {
            char text[200];
            snprintf(text, sizeof text,
                     "{\"weight\": {\"bits\": %d, \"symmetric\": false, \"per_channel\": %s}}",
                     bits, per_channel ? "true" : "false");
            Model *model = configured(text, (uint64_t)(bits * 2 + per_channel));
            Tensor *w = node_tensor(graph_find(model->graph, "c2"), "weight");
            for (size_t i = 0; i < w->count; i++) w->data[i] += 0.1f; /* ranges off the middle */
            const QNode *q = qnode(model, "c2");
            Arena *arena = arena_new();
            Tape calm = {.arena = arena};
            Folded before = weighted_fold(&calm, q, q->batchnorm);
            quant_learn(model->quant, learn_find("lsq"));
            quant_learn_start(model->quant);
            Folded after = weighted_fold(&calm, q, q->batchnorm);
            bool moved = false;
            for (int c = 0; c < after.grid.channels; c++) {
                /* the sums are the same but for the floor of a bias, which asks for more */
                assert_true(rounding_error(&after, c) <= rounding_error(&before, c));
                moved |= after.grid.zero_point[c] != 0;
            }
            assert_true(moved);
            configured_engines_agree(model, text);

            Error error = {0};
            model->stage = STAGE_QAT;
            quant_track(model->quant); /* as stair finetune does */
            if (!model_save(model, scratch_path("q"), 0, NULL, &error))
                fail_msg("%s", error.message);
            Model *loaded = model_load(scratch_path("q"), &error);
            if (!loaded) fail_msg("%s", error.message);
            assert_memory_equal(qnode(loaded, "c2")->weight_zero, q->weight_zero,
                                sizeof *q->weight_zero * (size_t)after.grid.channels);
            configured_engines_agree(loaded, text);
            model_free(loaded);
            model_free(model);
            arena_free(arena);
        }
}

static void test_presets_and_mixed_bits_in_both_engines(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{\"preset\": \"qnnpack\"}",
        "{\"preset\": \"fbgemm\"}",
        "{\"preset\": \"seed-per-tensor-affine\"}",
        "{\"activation\": {\"signed\": true, \"symmetric\": true}, \"weight\": {\"full_range\": "
        "true}}",
        "{\"layers\": {\"conv2d\": {\"weight\": {\"symmetric\": false}}}, \"overrides\": {\"c2\": "
        "{\"weight\":"
        " {\"bits\": 2}}, \"s\": {\"activation\": {\"bits\": 3}}, \"fc\": {\"weight\": {\"bits\": "
        "5}}}}",
        "{\"activation\": {\"descriptor\": {\"scale_amax\": 0.8, \"narrow_range\": true}},"
        " \"weight\": \"QUANT_DESC_8BIT_CONV2D_WEIGHT_PER_CHANNEL\"}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            Model *model = configured(texts[i], seed);
            configured_engines_agree(model, texts[i]);
            model_free(model);
        }
}

/* Grids that are only simulated, too: a file of 12 bits is read again. */
static void test_many_bits_are_read_again(void **state) {
    (void)state;
    Model *model = configured("{\"weight\": {\"bits\": 12, \"symmetric\": false}}", 5);
    Tensor *w = node_tensor(graph_find(model->graph, "c2"), "weight");
    for (size_t i = 0; i < w->count; i++) w->data[i] = fabsf(w->data[i]); /* Z = -2048 */
    quant_learn(model->quant, learn_find("lsq"));
    quant_learn_start(model->quant);
    assert_true(qnode(model, "c2")->weight_zero[0] < -128);
    model->stage = STAGE_QAT;
    quant_track(model->quant); /* as stair finetune does */
    Error error = {0};
    assert_true(model_save(model, scratch_path("w"), 0, NULL, &error));
    Model *loaded = model_load(scratch_path("w"), &error);
    if (!loaded) fail_msg("%s", error.message);
    model_free(loaded);
    model_free(model);
}

static void test_zero_point_in_file_is_checked(void **state) {
    (void)state;
    Model *model = configured("{\"weight\": {\"bits\": 4, \"symmetric\": false}}", 4);
    Error error = {0};
    assert_true(model_freeze(model, &error));
    WeightedIntegers *w = qnode(model, "fc")->integers;
    w->grid.zero_point[1] = 8; /* 4 bits: -8 .. 7 */
    assert_true(model_save(model, scratch_path("z"), 0, NULL, &error));
    assert_null(model_load(scratch_path("z"), &error));
    assert_error(&error, ERROR_INPUT, "fc.weight: a zero point of 8, with 4 bits");
    model_free(model);

    error = (Error){0};
    model = configured("{\"weight\": {\"bits\": 4, \"symmetric\": false}}", 4);
    quant_learn(model->quant, learn_find("lsq"));
    qnode(model, "fc")->weight_zero[1] = 100; /* no code of 4 bits */
    model->stage = STAGE_QAT;
    quant_track(model->quant); /* as stair finetune does */
    assert_true(model_save(model, scratch_path("z"), 0, NULL, &error));
    assert_null(model_load(scratch_path("z"), &error));
    assert_error(&error, ERROR_INPUT,
                 "z: fc.weight_fake_quant.zero_point is 100, outside of -8 to 7");
    model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_affine_weights),
        cmocka_unit_test(test_affine_weights_by_hand),
        cmocka_unit_test(test_learned_affine_weights),
        cmocka_unit_test(test_presets_and_mixed_bits_in_both_engines),
        cmocka_unit_test(test_many_bits_are_read_again),
        cmocka_unit_test(test_zero_point_in_file_is_checked),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
