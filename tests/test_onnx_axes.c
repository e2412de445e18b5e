/* ONNX operators along one dimension or another: the layers that they become, and what is refused
 * because the batch would not stay what it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/onnx_build.h"

#define X "x = input shape=2x4x4\n"

/* The batch is dimension 0, and moves nowhere. */
static void values_are_transposed(void **state) {
    (void)state;
    Build *b = onnx_build();
    INTS(b, build_node(b, "Transpose", "x", "t"), "perm", 0, 2, 3, 1);
    INTS(b, build_node(b, "Transpose", "t", "same"), "perm", 0, 1, 2, 3);
    build_node(b, "Relu", "same", "y");
    gives_net(b, "y", X "t = transpose x order=2x3x1\ny = relu t\n");

    static const int64_t wrong[][4] = {{1, 0, 2, 3}, {3, 2, 1, 0},  {0, 1, 1, 2},
                                       {0, 1, 2, 4}, {0, 1, 2, -1}, {0, 1, 2, INT64_MAX}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        b = onnx_build();
        set_ints(b, build_node(b, "Transpose", "x", "y"), "perm", 4, wrong[i]);
        is_refused(b, "y", "it is no order of all dimensions with the batch first");
    }
    b = onnx_build();
    build_node(b, "Transpose", "x", "y"); /* all turned round */
    is_refused(b, "y", "it is no order of all dimensions with the batch first");
}

/* What PyTorch before opset 13 and others write around an operator along the last dimension. */
static void transposes_in_a_row_are_one(void **state) {
    (void)state;
    static const int64_t there[][4] = {{0, 3, 2, 1}, {0, 2, 3, 1}},
                         back[][4] = {{0, 3, 2, 1}, {0, 3, 1, 2}};
    for (int i = 0; i < 2; i++) {
        Build *b = onnx_build();
        b->opset.version = 11;
        set_ints(b, build_node(b, "Transpose", "x", "t"), "perm", 4, there[i]);
        set_int(b, build_node(b, "Softmax", "t", "s"), "axis", 3);
        set_ints(b, build_node(b, "Transpose", "s", "y"), "perm", 4, back[i]);
        gives_net(b, "y", X "s = softmax x\n");
    }
    Build *b = onnx_build(); /* behind weights, what follows them folded in */
    add_floats(b, "w", SHAPE(4, 3), 0);
    add_floats(b, "k", SHAPE(3), 0);
    build_node(b, "MatMul", "x w", "m");
    build_node(b, "Add", "m k", "a");
    build_node(b, "Softmax", "a", "y");
    gives_net(b, "y",
              X "m = transpose x order=3x1x2\nm_2 = conv2d m out=3 kernel=1\n"
                "y = softmax m_2\ny_2 = transpose y order=2x3x1\n");
    b = onnx_build(); /* what something else reads stays */
    INTS(b, build_node(b, "Transpose", "x", "t"), "perm", 0, 3, 1, 2);
    INTS(b, build_node(b, "Transpose", "t", "back"), "perm", 0, 2, 3, 1);
    INTS(b, build_node(b, "Transpose", "t", "other"), "perm", 0, 2, 1, 3);
    build_node(b, "Add", "other back", "y");
    gives_net(b, "y",
              X "t = transpose x order=3x1x2\nback = transpose t order=2x3x1\n"
                "other = transpose t order=2x1x3\ny = add other back\n");
    b = onnx_build(); /* under another name, too */
    INTS(b, build_node(b, "Transpose", "x", "t"), "perm", 0, 3, 1, 2);
    build_node(b, "Identity", "t", "i");
    INTS(b, build_node(b, "Transpose", "i", "back"), "perm", 0, 2, 3, 1);
    INTS(b, build_node(b, "Transpose", "t", "other"), "perm", 0, 2, 1, 3);
    build_node(b, "Add", "other back", "y");
    gives_net(b, "y",
              X "t = transpose x order=3x1x2\nback = transpose t order=2x3x1\n"
                "other = transpose t order=2x1x3\ny = add other back\n");
    b = onnx_build(); /* joined values are turned alike */
    INTS(b, build_node(b, "Transpose", "x", "t"), "perm", 0, 1, 3, 2);
    set_int(b, build_node(b, "Concat", "t x", "y"), "axis", 3);
    gives_net(b, "y",
              X "y = transpose x order=2x1x3\ny_2 = transpose x order=3x1x2\n"
                "y_3 = concat y y_2\ny_4 = transpose y_3 order=2x3x1\n");
}

/* [N, C, T] as PyTorch brings it from a convolution to an LSTM: x.permute(2, 0, 1). */
static void a_sequence_of_columns_is_turned(void **state) {
    (void)state;
    Build *b = onnx_build();
    static const int64_t shape[] = {0, 8, 4}, direction[] = {1};
    add_longs(b, "shape", 3, shape);
    add_longs(b, "direction", 1, direction);
    add_floats(b, "W", SHAPE(1, 12, 8), 0);
    add_floats(b, "R", SHAPE(1, 12, 3), 0);
    build_node(b, "Reshape", "x shape", "r");
    INTS(b, build_node(b, "Transpose", "r", "t"), "perm", 2, 0, 1);
    set_int(b, build_node(b, "LSTM", "t W R", "y"), "hidden_size", 3);
    build_node(b, "Squeeze", "y direction", "s");
    INTS(b, build_node(b, "Transpose", "s", "u"), "perm", 1, 2, 0);
    gives_net(b, "u",
              X "r = reshape x shape=8x4\nt = transpose r\ny = lstm t hidden=3 bias=false\n"
                "u = transpose y\n");
}

static void add_slice(Build *b, const char *out, int count, const int64_t *starts,
                      const int64_t *ends, const int64_t *axes, const int64_t *steps) {
    const int64_t *list[] = {starts, ends, axes, steps};
    char inputs[80] = "x";
    for (int k = 0; k < 4; k++) {
        const char *name = arena_text(b->graph.arena, "%s%d", out, k);
        if (list[k]) add_longs(b, name, count, list[k]);
        strcat(strcat(inputs, " "), list[k] ? name : "-");
    }
    build_node(b, "Slice", inputs, out);
}

#define LIST(...) ((const int64_t[]){__VA_ARGS__})

static void parts_are_sliced(void **state) {
    (void)state;
    Build *b = onnx_build();
    add_slice(b, "y", 1, LIST(-3), LIST(INT64_MAX), LIST(-1), LIST(2));
    gives_net(b, "y", X "y = slice x axis=3 begin=1 end=4 step=2\n");

    b = onnx_build(); /* all of the batch, and of the lines */
    add_slice(b, "y", 3, LIST(0, 1, INT64_MIN), LIST(INT32_MAX, 2, INT64_MAX), NULL, NULL);
    gives_net(b, "y", X "y = slice x begin=1 end=2\n");

    b = onnx_build(); /* opset 9 has attributes */
    Onnx__NodeProto *old = build_node(b, "Slice", "x", "y");
    INTS(b, old, "starts", 0, -1);
    INTS(b, old, "ends", 1, 9);
    INTS(b, old, "axes", 1, 2);
    gives_net(b, "y", X "y = slice x end=1\ny_2 = slice y axis=2 begin=3 end=4\n");

    static const struct {
        int64_t start, end, axis, step;
    } wrong[] = {
        {0, 1, 0, 1},  {1, INT64_MAX, 0, 1}, {3, 0, 2, -1},        {2, 2, 2, 1},
        {9, 12, 2, 1}, {0, 1, 4, 1},         {0, 1, INT64_MIN, 1}, {0, 4, 2, 0},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        b = onnx_build();
        add_slice(b, "y", 1, &wrong[i].start, &wrong[i].end, &wrong[i].axis, &wrong[i].step);
        is_refused(b, "y", "it cuts the batch, goes backwards, or leaves nothing");
    }
    b = onnx_build();
    add_slice(b, "y", 1, LIST(0), NULL, NULL, NULL);
    is_refused(b, "y", "its ends are not known before the net runs");
}

/* Sizes: x.reshape(x.shape[0], *x.shape[1:2], -1). */
static void sizes_are_sliced(void **state) {
    (void)state;
    Build *b = onnx_build();
    add_longs(b, "zero", 1, LIST(0));
    add_longs(b, "two", 1, LIST(2));
    add_longs(b, "rest", 1, LIST(-1));
    add_longs(b, "far", 1, LIST(INT64_MAX));
    build_node(b, "Shape", "x", "shape");
    build_node(b, "Slice", "shape two far zero far", "lines"); /* one place */
    build_node(b, "Slice", "shape zero two", "head");
    build_node(b, "Concat", "head lines rest", "to");
    build_node(b, "Reshape", "x to", "y");
    gives_net(b, "y", X "y = reshape x shape=2x4x4\n");
}

static void places_are_gathered(void **state) {
    (void)state;
    static const struct {
        Shape shape;
        int64_t at[4], axis;
        const char *net;
    } rows[] = {
        {{0}, {2}, 2, X "y = slice x axis=2 begin=2 end=3\ny_2 = reshape y shape=2x4\n"},
        {{0}, {-1}, 1, X "y = slice x begin=1 end=2\ny_2 = reshape y shape=4x4\n"},
        {{1, {2}}, {0, 2}, 3, X "y = slice x axis=3 end=3 step=2\n"},
        {{2, {2, 2}}, {0, 1, 2, 3}, -1, X "y = reshape x shape=2x4x2x2\n"},
        {{1, {2}}, {2, 0}, 3, NULL},
        {{1, {3}}, {0, 1, 3}, 3, NULL},
        {{1, {2}}, {1, 1}, 3, NULL},
        {{1, {1}}, {4}, 3, NULL},
        {{1, {1}}, {INT64_MIN}, 3, NULL},
        {{1, {1}}, {0}, 0, NULL},
        {{1, {1}}, {0}, 4, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Build *b = onnx_build();
        onnx_tensor(&b->graph, "at", ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 8, &rows[i].shape,
                    rows[i].at);
        set_int(b, build_node(b, "Gather", "x at", "y"), "axis", rows[i].axis);
        if (rows[i].net)
            gives_net(b, "y", rows[i].net);
        else
            is_refused(b, "y",
                       "it takes of the batch, or at places that are not known or unevenly spaced");
    }
}

static void values_are_joined_along_any_dimension(void **state) {
    (void)state;
    Build *b = onnx_build();
    build_node(b, "Relu", "x", "r");
    set_int(b, build_node(b, "Concat", "x r", "y"), "axis", -1);
    gives_net(b, "y",
              X "r = relu x\ny = transpose x order=3x1x2\ny_2 = transpose r order=3x1x2\n"
                "y_3 = concat y y_2\ny_4 = transpose y_3 order=2x3x1\n");
    static const int64_t axes[] = {0, -4, 4, INT64_MIN};
    for (size_t i = 0; i < sizeof axes / sizeof *axes; i++) {
        b = onnx_build();
        set_int(b, build_node(b, "Concat", "x x", "y"), "axis", axes[i]);
        is_refused(b, "y", "it joins along the batch, or along no dimension");
    }
    b = onnx_build();
    add_slice(b, "s", 1, LIST(0), LIST(2), LIST(2), NULL);
    set_int(b, build_node(b, "Concat", "x s", "y"), "axis", 3);
    is_refused(b, "y", "its inputs differ in other dimensions than 3");
    b = onnx_build();
    build_node(b, "Flatten", "x", "f");
    set_int(b, build_node(b, "Concat", "x f", "y"), "axis", 3);
    is_refused(b, "y", "its inputs differ in other dimensions than 3");
}

/* From opset 13 on along one dimension, before over all from one on. */
static void softmax_runs_along_any_dimension(void **state) {
    (void)state;
    Build *b = onnx_build();
    build_node(b, "Softmax", "x", "y");
    gives_net(b, "y",
              X "y = transpose x order=3x1x2\ny_2 = softmax y\ny_3 = transpose y_2 order=2x3x1\n");
    b = onnx_build();
    set_int(b, build_node(b, "Softmax", "x", "y"), "axis", 1);
    gives_net(b, "y", X "y = softmax x\n");
    b = onnx_build();
    b->opset.version = 12;
    build_node(b, "Softmax", "x", "y");
    gives_net(b, "y", X "y = reshape x shape=32\ny_2 = softmax y\ny_3 = reshape y_2 shape=2x4x4\n");
    b = onnx_build();
    b->opset.version = 12;
    set_int(b, build_node(b, "Softmax", "x", "y"), "axis", 2);
    gives_net(b, "y",
              X "y = transpose x order=2x3x1\ny_2 = reshape y shape=16x2\ny_3 = softmax y_2\n"
                "y_4 = reshape y_3 shape=4x4x2\ny_5 = transpose y_4 order=3x1x2\n");
    b = onnx_build();
    set_int(b, build_node(b, "Softmax", "x", "y"), "axis", 0);
    is_refused(b, "y", "it runs over the batch");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_transposed),
        cmocka_unit_test(transposes_in_a_row_are_one),
        cmocka_unit_test(a_sequence_of_columns_is_turned),
        cmocka_unit_test(parts_are_sliced),
        cmocka_unit_test(sizes_are_sliced),
        cmocka_unit_test(places_are_gathered),
        cmocka_unit_test(values_are_joined_along_any_dimension),
        cmocka_unit_test(softmax_runs_along_any_dimension),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
