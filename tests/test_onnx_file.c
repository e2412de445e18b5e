/* stair export onnx: what is refused, and the file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "autograd/file.h"
#include "quant/export/export.h"
#include "quant/onnx/write.h"
#include "tests/scratch.h"
#include "tests/small_model.h"

#define IMAGE "x = input shape=2x6x6\n"

/* --- refusals --- */

static void test_names_that_meet(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Model *model = text_model(IMAGE "y = relu6 x\ny_min = relu y\n");
    Error error = {0};
    assert_null(onnx_model(model, "1", arena, &error));
    assert_error(&error, ERROR_INPUT, "'y_min': rename the node");
    model_free(model);
    arena_free(arena);
}

/* A program that links the library may have layers that this table does not know. */
static void test_layers_of_ones_own(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Error error = {0};
    Model *model = text_model(IMAGE "y = relu x\n");
    Layer own = *model->graph->node[1].layer;
    own.name = "own";
    model->graph->node[1].layer = &own;
    assert_null(onnx_model(model, "1", arena, &error));
    assert_error(&error, ERROR_INPUT, "y: own layers have no operator");
    model_free(model);
    arena_free(arena);
}

static void test_dynamic(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Error error = {0};
    Model *model = text_model(IMAGE "f = flatten x\ny = linear f out=3\n");
    assert_true(model_freeze_dynamic(model, true, &error));
    assert_null(onnx_model(model, "1", arena, &error));
    assert_error(&error, ERROR_INPUT, "is quantized dynamically");
    model_free(model);
    arena_free(arena);
}

/* --- the file --- */

static bool export(Model *model, const char *path, Error *error) {
    ExportReport report = {""};
    const Export *format = export_find("onnx", error);
    assert_non_null(format);
    return format->write(model, path, &(ExportOptions){.version = "1.2.3"}, &report, error);
}

static unsigned char *read(Arena *arena, const char *path, size_t *size) {
    unsigned char *data;
    Error error = {0};
    if (!file_read(arena, path, 1 << 20, &data, size, &error)) fail_msg("%s", error.message);
    return data;
}

/* The same net gives the same bytes, and they are what their messages pack to. */
static void test_file(void **state) {
    (void)state;
    Arena *arena = arena_new();
    size_t size[2];
    unsigned char *data[2];
    for (int i = 0; i < 2; i++) {
        Model *model = small_model(STAGE_CALIBRATED, NULL);
        Error error = {0};
        if (!export(model, scratch_path("net.onnx"), &error)) fail_msg("%s", error.message);
        data[i] = read(arena, scratch_path("net.onnx"), &size[i]);
        model_free(model);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(data[0], data[1], size[0]);

    Onnx__ModelProto *proto = onnx__model_proto__unpack(NULL, size[0], data[0]);
    assert_non_null(proto);
    assert_int_equal(onnx__model_proto__get_packed_size(proto), size[0]);
    uint8_t *again = arena_alloc(arena, size[0]);
    onnx__model_proto__pack(proto, again);
    assert_memory_equal(again, data[0], size[0]);
    onnx__model_proto__free_unpacked(proto, NULL);
    arena_free(arena);
}

static void test_a_refusal_leaves_the_file(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Bytes old = {0};
    bytes_text(&old, "old");
    scratch_write("old.onnx", &old);
    Model *model = text_model(IMAGE "y = relu6 x\ny_min = relu y\n");
    Error error = {0};
    assert_false(export(model, scratch_path("old.onnx"), &error));
    assert_error(&error, ERROR_INPUT, "two tensors");
    size_t size;
    assert_string_equal((char *)read(arena, scratch_path("old.onnx"), &size), "old");
    Error missing = {0};
    Model *fine = text_model(IMAGE "y = relu x\n");
    assert_false(export(fine, scratch_path("none/net.onnx"), &missing));
    assert_int_equal(missing.code, ERROR_IO);
    model_free(fine);
    model_free(model);
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_that_meet),
        cmocka_unit_test(test_layers_of_ones_own),
        cmocka_unit_test(test_dynamic),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_a_refusal_leaves_the_file),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
