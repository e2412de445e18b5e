/* Weights of PyTorch: a state_dict as safetensors becomes a model, whatever the width of its
 * floats; what does not fit is listed at once. And how the normalisation of pixels is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/file.h"
#include "quant/import/reader.h"
#include "quant/onnx/write.h"
#include "tests/onnx_build.h"
#include "tests/reference.h"
#include "tests/scratch.h"
#include "tests/small_model.h"
#include "tests/state_dict.h"

/* The file of a small float model, whose arrays are what PyTorch would have saved. */
static int make_files(void **state) {
    if (dict_setup(state)) return -1;
    Model *model = small_model(STAGE_FLOAT, NULL);
    small_save(model, scratch_path("float"));
    model_free(model);
    return 0;
}

static Model *dict_accepted(Change *dict) {
    Error error = {0};
    Model *model = dict_import(dict, scratch_path("small.net"), &error);
    if (!model) fail_msg("%s", error.message);
    assert_int_equal(model->stage, STAGE_FLOAT);
    return model;
}

static void weights_are_those_of_the_file(void **state) {
    (void)state;
    float want[SMALL_BATCH * SMALL_OUTPUTS], have[SMALL_BATCH * SMALL_OUTPUTS];
    Model *original = small_load(scratch_path("float"));
    original->pixels =
        (Normalization){.channels = 2, .std = {1, 1}}; /* arrays say nothing of pixels */
    small_forward(original, want);
    Change dict;
    dict_open(&dict, "float");
    Model *model = dict_accepted(&dict);
    assert_memory_equal(&model->pixels, &original->pixels, sizeof model->pixels);
    small_forward(model, have);
    assert_memory_equal(have, want, sizeof want);
    model_free(model);
    model_free(original);
}

static void a_missing_counter_is_zero(void **state) {
    (void)state;
    Change dict;
    dict_open(&dict, "float");
    change_remove(&dict, "bn1.num_batches_tracked");
    Model *model = dict_accepted(&dict);
    assert_true(node_tensor(graph_find(model->graph, "bn1"), "num_batches_tracked")->data[0] == 0);
    model_free(model);
}

/* Element by element, encodings that were worked out by hand: IEEE 754's half, and the upper half
 * of a float. Of float16 the largest, the smallest normal and the smallest at all are among them.
 */
static const struct {
    Dtype dtype;
    uint64_t bits[4];
    float value[4];
} widths[] = {
    {DTYPE_F16, {0x3c00, 0xfbff, 0x0400, 0x8001}, {1, -65504, 0x1p-14f, -0x1p-24f}},
    {DTYPE_BF16, {0x3f80, 0xc049, 0x0080, 0x8001}, {1, -3.140625f, 0x1p-126f, -0x1p-133f}},
    {DTYPE_F64,
     {0x3ff0000000000000, 0xc00921fb54442d18, 0x3ff0000010000000, 0},
     {1, -3.14159274101257324f, 1, 0}}, /* 1 + 2^-24 is a tie: to even */
};

static void floats_of_other_widths_are_read(void **state) {
    (void)state;
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        Change dict;
        dict_open(&dict, "float");
        SafeTensor *weight = change_tensor(&dict, "conv1.weight");
        size_t size = (size_t)dtype_bits(widths[w].dtype) / 8;
        size_t count = weight->bytes / sizeof(float);
        unsigned char *data = arena_zeros(dict.arena, count * size);
        for (int i = 0; i < 4; i++) memcpy(data + (size_t)i * size, &widths[w].bits[i], size);
        weight->dtype = widths[w].dtype;
        weight->data = data;
        weight->bytes = count * size;
        Model *model = dict_accepted(&dict);
        const float *have = node_tensor(graph_find(model->graph, "conv1"), "weight")->data;
        assert_memory_equal(have, widths[w].value, sizeof widths[w].value);
        assert_true(have[4] == 0);
        model_free(model);
    }
}

static void all_that_does_not_fit_is_listed(void **state) {
    (void)state;
    Change dict;
    dict_open(&dict, "float");
    change_remove(&dict, "fc.bias");
    change_tensor(&dict, "conv2.weight")->name = "layer2.weight";
    SafeTensor *gamma = change_tensor(&dict, "bn1.weight");
    gamma->rank = 2;
    gamma->dim[1] = 1;
    change_tensor(&dict, "bn1.bias")->dtype = DTYPE_I32;
    Error error = {0};
    assert_null(dict_import(&dict, scratch_path("small.net"), &error));
    assert_error(&error, ERROR_INPUT, "5 tensors do not fit the net small");
    assert_error(&error, ERROR_INPUT, "fc.bias is missing (F32 3)");
    assert_error(&error, ERROR_INPUT, "conv2.weight is missing (F32 4x4x3x3)");
    assert_error(&error, ERROR_INPUT, "layer2.weight is not of this net");
    assert_error(&error, ERROR_INPUT, "bn1.weight is F32 4x1, expected F32 4");
    assert_error(&error, ERROR_INPUT, "bn1.bias is I32 4, expected F32 4");
}

static void values_that_cannot_be_are_refused(void **state) {
    (void)state;
    static const double beyond[3] = {0, 1e300, 0};
    Change dict;
    dict_open(&dict, "float");
    SafeTensor *bias = change_tensor(&dict, "fc.bias");
    *bias = (SafeTensor){.name = bias->name,
                         .dtype = DTYPE_F64,
                         .rank = 1,
                         .dim = {3},
                         .data = beyond,
                         .bytes = sizeof beyond};
    Error error = {0};
    assert_null(dict_import(&dict, scratch_path("small.net"), &error));
    assert_error(&error, ERROR_INPUT, "fc.bias: element 1");
}

static void refused(const char *name, const char *net, ErrorCode code, const char *fragment) {
    Error error = {0};
    assert_null(model_import(scratch_path(name), net, NULL, &error));
    assert_error(&error, code, fragment);
}

static void other_files_are_refused(void **state) {
    (void)state;
    Change dict;
    dict_open(&dict, "float");
    Error error = {0};
    model_free(dict_import(&dict, scratch_path("small.net"), &error));
    Bytes zip = {0}, none = {0};
    bytes_text(&zip, "PK\3\4 no safetensors");
    scratch_write("zip", &zip);
    scratch_write("none", &none);
    refused("dict", NULL, ERROR_USAGE, "name it with --model");
    refused("dict", "lenet6", ERROR_USAGE, "did you mean 'lenet5'");
    refused("dict", "lenet5", ERROR_INPUT, "do not fit the net lenet5");
    refused("float", scratch_path("small.net"), ERROR_INPUT, "is a stair model already");
    refused("float", NULL, ERROR_INPUT, "is a stair model already");
    assert_null(model_import(scratch_path("dict"), scratch_path("small.net"), "fc", &error));
    assert_error(&error, ERROR_USAGE, "has no graph: --graph-output cannot be given");
    refused("none", NULL, ERROR_INPUT, "too short");
    refused("zip", "mlp", ERROR_INPUT, "this is a zip archive");
    refused("none", "mlp", ERROR_INPUT, "too short");
    refused("nowhere", "mlp", ERROR_IO, "nowhere");
}

/* --- the list of formats --- */

static void write_dict(const char *name) {
    Change dict;
    dict_open(&dict, "float");
    Error error = {0};
    model_free(dict_import(&dict, scratch_path("small.net"), &error));
    assert_int_equal(rename(scratch_path("dict"), scratch_path(name)), 0);
}

static void write_onnx(const char *name) {
    Model *model = small_model(STAGE_FLOAT, NULL);
    Error error = {0};
    Arena *arena = arena_new();
    File file = onnx_pack(onnx_model(model, "test", arena, &error), arena);
    Bytes bytes = {0};
    bytes_add(&bytes, file.data, file.size);
    scratch_write(name, &bytes);
    model_free(model);
    arena_free(arena);
}

static const struct {
    const char *reader;
    void (*write)(const char *name); /* a file of it with the small float model */
} samples[] = {{"a safetensors file", write_dict}, {"an ONNX file", write_onnx}};

/* Each format's files are known by their first bytes as that format's alone among those before the
 * last, which takes what is left; they give the model, with a net named or without. */
static void every_reader_reads_its_files(void **state) {
    (void)state;
    float want[SMALL_BATCH * SMALL_OUTPUTS], have[SMALL_BATCH * SMALL_OUTPUTS];
    Model *model = small_model(STAGE_FLOAT, NULL);
    small_forward(model, want);
    Normalization pixels = model->pixels; /* a state_dict does not say them */
    model_free(model);
    for (int i = 0; reader_list[i]; i++) {
        const Reader *reader = reader_list[i];
        size_t k = 0, count = sizeof samples / sizeof *samples;
        while (k < count && strcmp(samples[k].reader, reader->name) != 0) k++;
        if (k == count) fail_msg("%s: no sample of its files", reader->name);
        samples[k].write("sample");
        Arena *arena = arena_new();
        Error error = {0};
        unsigned char *data;
        ImportFile file = {.path = scratch_path("sample")};
        assert_true(file_read(arena, file.path, IMPORT_BYTES, &data, &file.size, &error));
        file.data = data;
        for (int other = 0; reader_list[other]; other++)
            assert_true(reader_list[other]->knows(&file) ==
                        (other == i || !reader_list[other + 1]));
        const char *net = reader->carries_net ? NULL : scratch_path("small.net");
        refused("sample", reader->carries_net ? "mlp" : NULL, ERROR_USAGE, "--model");
        model = model_import(file.path, net, NULL, &error);
        if (!model) fail_msg("%s: %s", reader->name, error.message);
        model->pixels = pixels;
        small_forward(model, have);
        assert_memory_equal(have, want, sizeof want);
        model_free(model);
        arena_free(arena);
    }
}

static void normalization_is_two_numbers_or_two_for_each_channel(void **state) {
    (void)state;
    Normalization p = {.channels = 3};
    assert_true(normalization_parse("0.5,0.25", &p, NULL));
    assert_memory_equal(&p, (&(Normalization){3, {.5f, .5f, .5f}, {.25f, .25f, .25f}}), sizeof p);
    assert_true(normalization_parse("0.5,-1,0,1,2,3e0", &p, NULL));
    assert_memory_equal(&p, (&(Normalization){3, {.5f, -1, 0}, {1, 2, 3}}), sizeof p);
    static const char *const wrong[] = {
        "",        "1",      "1,",    ",1",     "1,0",  "1,-1", "1,1,",        "1,2,3",
        "1 ,1",    "1, 1",   "nan,1", "1,inf",  "0,1x", "0;1",  "1,1,1,1,1,0", "1,1,1,1,1,1,1",
        "0,1e-40", "1e39,1", "0x1,1", "1,1,1,1"};
    Normalization before = p;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        Error error = {0};
        assert_false(normalization_parse(wrong[i], &p, &error));
        assert_error(&error, ERROR_USAGE, "--normalize");
        assert_memory_equal(&p, &before, sizeof p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_are_those_of_the_file),
        cmocka_unit_test(a_missing_counter_is_zero),
        cmocka_unit_test(floats_of_other_widths_are_read),
        cmocka_unit_test(all_that_does_not_fit_is_listed),
        cmocka_unit_test(values_that_cannot_be_are_refused),
        cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(every_reader_reads_its_files),
        cmocka_unit_test(normalization_is_two_numbers_or_two_for_each_channel),
    };
    return cmocka_run_group_tests(tests, make_files, scratch_remove);
}
