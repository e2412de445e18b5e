/* Files that are safetensors and no model: each thing that can be wrong, one at a time, in a file
 * that is otherwise right; and every byte of a small one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "autograd/file.h"
#include "tests/changed_file.h"
#include "tests/reference.h"
#include "tests/scratch.h"
#include "tests/small_model.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Models of each stage, and a frozen one whose weights have 4 bits. */
static int make_files(void **state) {
    if (scratch_make(state)) return -1;
    QuantConfig config = quant_config_default();
    for (int stage = 0; stage <= STAGE_COUNT; stage++) {
        config.weight.bits = stage == STAGE_COUNT ? 4 : 8;
        Model *model = small_model(stage == STAGE_COUNT ? STAGE_FROZEN : (Stage)stage, &config);
        small_save(model,
                   scratch_path(stage == STAGE_COUNT ? "frozen4" : stage_name((Stage)stage)));
        model_free(model);
    }
    return 0;
}

static void test_tensors(void **state) {
    (void)state;
    Change c;
    Error error;
    static const float numbers[9] = {0};
    change_open(&c, "float"); /* what is wrong is listed, all of it */
    change_remove(&c, "bn1.running_var");
    change_remove(&c, "fc.bias");
    c.tensor[c.file.count++] = (SafeTensor){"fc.scale", DTYPE_F32, 1, {3}, numbers, 12};
    change_tensor(&c, "fc.weight")->dim[0] = 4; /* 3x16 */
    change_tensor(&c, "fc.weight")->dim[1] = 12;
    *change_tensor(&c, "bn1.bias") = (SafeTensor){"bn1.bias", DTYPE_F64, 1, {4}, numbers, 32};
    *change_tensor(&c, "bn1.weight") =
        (SafeTensor){"bn1.weight", DTYPE_F32, 2, {4, 1}, numbers, 16};
    assert_null(change_load(&c, &error));
    static const char *const told[] = {
        "changed: 6 tensors do not fit the net it carries:",
        "\n  bn1.running_var is missing (F32 4)",
        "\n  fc.bias is missing (F32 3)",
        "\n  fc.scale is not of this net",
        "\n  fc.weight is F32 4x12, expected F32 3x16",
        "\n  bn1.bias is F64 4, expected F32 4",
        "\n  bn1.weight is F32 4x1, expected F32 4",
    };
    for (size_t i = 0; i < COUNT(told); i++) assert_error(&error, ERROR_INPUT, told[i]);

    change_open(&c, "frozen");
    change_remove(&c, "conv2.bias");
    assert_bad(&c, "1 tensor does not fit the net it carries:\n  conv2.bias is missing (I32 4)");
    change_open(&c, "float"); /* the stage says which tensors there are */
    change_meta(&c, "stair.stage", "calibrated");
    change_meta(&c, "stair.quant", "{}");
    assert_bad(&c, "x.activation_post_process.scale is missing (F32 1)");
    change_open(&c, "calibrated");
    change_meta(&c, "stair.stage", "float");
    assert_bad(
        &c,
        "42 tensors do not fit the net it carries:\n  add1.activation_post_process.average_max is");
    change_open(&c, "qat");
    change_meta(&c, "stair.stage", "frozen");
    assert_bad(&c, "conv1.weight is F32 4x2x3x3, expected I8 4x2x3x3");
    change_open(&c, "float");
    for (int i = 0; i < 30; i++) { /* a long list is cut, not left out */
        char *name = arena_text(c.arena, "extra%d", i);
        c.tensor[c.file.count++] = (SafeTensor){name, DTYPE_F32, 0, {0}, numbers, 4};
    }
    assert_bad(&c, "30 tensors do not fit the net it carries:\n  extra0 is not of this net");
    change_open(&c, "float"); /* an optimizer's memory is no part of the net, and may stay */
    c.tensor[c.file.count++] = (SafeTensor){"optimizer.x", DTYPE_F32, 0, {0}, numbers, 4};
    Model *model = change_load(&c, &error);
    assert_non_null(model);
    model_free(model);
}

static void test_metadata(void **state) {
    (void)state;
    static const struct {
        const char *file, *key, *value, *fragment;
    } wrong[] = {
        {"float", "stair.format", NULL, "no stair model: the metadata lacks stair.format"},
        {"float", "stair.stage", NULL, "no stair model: the metadata lacks stair.stage"},
        {"float", "stair.net", NULL, "no stair model: the metadata lacks stair.net"},
        {"float", "stair.input", NULL, "no stair model: the metadata lacks stair.input"},
        {"qat", "stair.quant", NULL, "no stair model: the metadata lacks stair.quant"},
        {"float", "stair.format", "2", "format '2', this stair reads 1"},
        {"float", "stair.format", "", "format ''"},
        {"float", "stair.stage", "trained", "unknown stage 'trained'"},
        {"float", "stair.stage", "", "unknown stage ''"},
        {"float", "stair.net", "", "stair.net:1:1: a net needs an input"},
        {"float", "stair.net", "x = input shape=2x6x6\nr = rellu x",
         "stair.net:2:5: unknown layer"},
        {"float", "stair.net", "x = input shape=5x6x6\nr = relu x", "5 channels, at most 4"},
        {"float", "stair.net", "x = input shape=2x6x6\nr = relu x", "fc.weight is not of this net"},
        {"float", "stair.input", "{", "stair.input: "},
        {"float", "stair.input", "{\"mean\": 1, \"mean\": 1}", "stair.input: duplicate"},
        {"float", "stair.input", "[]", "stair.input: expected mean and std"},
        {"float", "stair.input", "{\"mean\": [0, 0]}", "stair.input: expected mean and std"},
        {"float", "stair.input", "{\"mean\": [0, 0], \"std\": [1]}", "of 2 channels"},
        {"float", "stair.input", "{\"mean\": [0, 0, 0], \"std\": [1, 1]}", "of 2 channels"},
        {"float", "stair.input", "{\"mean\": [0, 0], \"std\": [1, 0]}", "std > 0"},
        {"float", "stair.input", "{\"mean\": [0, 0], \"std\": [1, -1]}", "std > 0"},
        {"float", "stair.input", "{\"mean\": [0, 0], \"std\": [1e-40, 1]}", "std > 0"},
        {"float", "stair.input", "{\"mean\": [0, 0], \"std\": [1, null]}", "std > 0"},
        {"float", "stair.input", "{\"mean\": [\"a\", 0], \"std\": [1, 1]}",
         "expected mean and std"},
        {"float", "stair.input", "{\"mean\": [1e300, 0], \"std\": [1, 1]}",
         "expected mean and std"},
        {"float", "stair.input", "{\"mean\": [1e999, 0], \"std\": [1, 1]}", "stair.input: "},
        {"float", "stair.input", "{\"mean\": [3e38, 0], \"std\": [0.1, 1]}",
         "expected mean and std"},
        {"float", "stair.training", "{\"step\": 1", "stair.training: "},
        {"float", "stair.training", "[1]", "stair.training: "},
        {"qat", "stair.training", "7", "stair.training: "},
        {"qat", "stair.quant", "}", "stair.quant: "},
        {"qat", "stair.quant", "[]", "quantization is no object"},
        {"qat", "stair.quant", "{\"bits\": 8}", "quantization has no member 'bits'"},
        {"qat", "stair.quant", "{\"weight\": {\"bits\": 1}}",
         "weight: it.bits: expected 2 to 16 bits"},
        {"qat", "stair.quant", "{\"weight\": {\"bits\": 17}}", "expected 2 to 16 bits"},
        {"qat", "stair.quant", "{\"activation\": {\"bits\": 17}}", "activation: it.bits: expected"},
        {"qat", "stair.quant", "{\"edge_bits\": 1}", "edge_bits: expected 2 to 16 bits"},
        {"qat", "stair.quant", "{\"edge_bits\": 4294967298}", "edge_bits: expected 2 to 16 bits"},
        {"qat", "stair.quant", "{\"edge_bits\": 8.0}", "edge_bits: expected 2 to 16 bits"},
        {"qat", "stair.quant", "{\"weight\": {\"bits\": \"8\"}}", "expected 2 to 16 bits"},
        {"qat", "stair.quant", "{\"weight\": {\"signed\": 1}}", "signed: expected true or false"},
        {"qat", "stair.quant", "{\"weight\": {\"signed\": false}}", "weights have both signs"},
        {"qat", "stair.quant", "{\"activation\": {\"per_channel\": true}}",
         "activations have one scale"},
        {"qat", "stair.quant", "{\"method\": \"guess\"}", "method: no method 'guess'"},
        {"qat", "stair.quant", "{\"method\": null}", "method: no method ''"},
        {"qat", "stair.quant", "{\"ste\": \"guess\"}",
         "ste: no straight-through estimator 'guess'"},
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        Change c;
        change_open(&c, wrong[i].file);
        change_meta(&c, wrong[i].key, wrong[i].value);
        assert_bad(&c, wrong[i].fragment);
    }
}

static void test_numbers(void **state) {
    (void)state;
    static const struct {
        const char *file, *tensor;
        size_t index;
        double value;
    } wrong[] = {
        {"float", "conv1.weight", 5, NAN},
        {"float", "fc.bias", 2, INFINITY},
        {"float", "bn1.weight", 0, -INFINITY},
        {"float", "bn1.running_mean", 3, NAN},
        {"float", "bn1.running_var", 2, -1e-30},
        {"float", "bn1.running_var", 0, NAN},
        {"float", "bn1.running_var", 0, INFINITY},
        {"float", "bn1.num_batches_tracked", 0, -1},
        {"float", "bn1.num_batches_tracked", 0, 0x1.8p53},
        {"qat", "fc.weight", 0, NAN},
        {"calibrated", "conv1.activation_post_process.scale", 0, 0},
        {"calibrated", "conv1.activation_post_process.scale", 0, -0.5},
        {"calibrated", "conv1.activation_post_process.scale", 0, NAN},
        {"calibrated", "conv1.activation_post_process.scale", 0, INFINITY},
        {"calibrated", "conv1.activation_post_process.scale", 0, 1e-39},
        {"calibrated", "x.activation_post_process.zero_point", 0, -1},
        {"calibrated", "x.activation_post_process.zero_point", 0, 256},
        {"qat", "x.activation_post_process.min_val", 0, NAN},
        {"qat", "x.activation_post_process.max_val", 0, INFINITY},
        {"qat", "x.activation_post_process.batches", 0, -1},
        {"qat", "x.activation_post_process.batches", 0, 0x1.8p53},
        {"frozen", "fc.activation_post_process.scale", 0, 0},
        {"frozen", "fc.activation_post_process.zero_point", 0, INT32_MIN},
        {"frozen", "fc.weight_fake_quant.scale", 1, 0},
        {"frozen", "fc.weight_fake_quant.scale", 1, NAN},
        {"frozen", "fc.weight_fake_quant.scale", 1, -1e-3},
        {"frozen", "conv1.weight", 70, -128}, /* symmetric codes: -127 .. 127, -7 .. 7 */
        {"frozen4", "conv1.weight", 0, 0x08}, /* two codes a byte: 0x8 is -8 */
        {"frozen4", "conv1.weight", 35, (double)(int8_t)0x80},
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        Change c;
        change_open(&c, wrong[i].file);
        change_number(&c, wrong[i].tensor, wrong[i].index, wrong[i].value);
        assert_bad(&c, wrong[i].tensor);
    }
    Change c;
    change_open(&c, "calibrated"); /* each end is a number, but not of a range */
    change_number(&c, "pool1.activation_post_process.min_val", 0, 1e9);
    assert_bad(&c, "pool1.activation_post_process: a range from 1e+09 to ");
}

/* Integers that are right one by one, and together more than 32 bits or a multiplier can hold. */
static void test_proofs(void **state) {
    (void)state;
    static const double biases[] = {INT32_MAX, INT32_MIN};
    Change c;
    Error error;
    for (size_t i = 0; i < COUNT(biases); i++) {
        change_open(&c, "frozen");
        change_number(&c, "fc.bias", 1, biases[i]);
        assert_bad(&c, "fc: the sum of output 1 can reach 21");
    }
    change_open(&c, "frozen");
    change_number(&c, "conv1.weight_fake_quant.scale", 2, 1e30);
    assert_bad(&c, "conv1: output 2: a scale ratio of ");
    change_open(&c, "frozen");
    change_number(&c, "add1.activation_post_process.scale", 0, 1e-37);
    assert_bad(&c, "add1: a scale ratio of ");

    change_open(&c, "frozen"); /* the largest bias that can be proven, and one more */
    const int8_t *weight = change_tensor(&c, "fc.weight")->data;
    int32_t zero =
        *(const int32_t *)change_tensor(&c, "pool1.activation_post_process.zero_point")->data;
    int64_t sum = 0, absolute = 0;
    for (int k = 0; k < 16; k++)
        sum += weight[k], absolute += weight[k] < 0 ? -weight[k] : weight[k];
    /* N5: the true sum, |acc| <= sum |q_w| reach + |q_b|, and the kernels' with Z sum(q_w) moved */
    int64_t reach = zero > 255 - zero ? zero : 255 - zero, largest = INT32_MAX - absolute * reach;
    int64_t moved = INT32_MAX - absolute * 255 + zero * sum;
    if (moved < largest) largest = moved;
    for (int more = 0; more < 2; more++) {
        if (more) change_open(&c, "frozen");
        change_number(&c, "fc.bias", 0, (double)(largest + more));
        Model *model = change_load(&c, &error);
        assert_int_equal(model != NULL, !more);
        if (more) assert_error(&error, ERROR_INPUT, "the sum of output 0 can reach 2147483648,");
        model_free(model);
    }
}

/* Whatever a byte of the file becomes: it is refused, or it is a model that runs. */
static void test_damaged_bytes(void **state) {
    (void)state;
    Arena *arena = arena_new();
    unsigned char *data;
    size_t size, loaded = 0;
    static Bytes bytes;
    assert_true(file_read(arena, scratch_path("frozen"), sizeof bytes.data, &data, &size, NULL));
    for (size_t at = 0; at < size; at++)
        for (int turn = 0; turn < 2; turn++) {
            bytes.count = 0;
            bytes_add(&bytes, data, size);
            bytes.data[at] ^= (uint8_t)(turn ? 1 << at % 8 : 0x80 >> at % 7);
            scratch_write("damaged", &bytes);
            Error error = {0};
            Model *model = model_load(scratch_path("damaged"), &error);
            scratch_delete("damaged"); /* a new file is quicker than one emptied and filled again */
            float logits[SMALL_BATCH * SMALL_OUTPUTS];
            if (model) {
                small_run(model, logits);
                model_free(model);
                loaded++;
            } else {
                assert_error(&error, ERROR_INPUT, "/damaged: ");
            }
        }
    assert_true(loaded > size / 20 && loaded < 2 * size); /* weights may be others, the rest not */
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tensors),       cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_numbers),       cmocka_unit_test(test_proofs),
        cmocka_unit_test(test_damaged_bytes),
    };
    int failed = cmocka_run_group_tests(tests, make_files, scratch_remove);
    stop_pool(NULL);
    return failed;
}
