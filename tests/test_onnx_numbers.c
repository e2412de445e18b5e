/* ONNX operators with numbers: that meet values along one dimension or several, that they are
 * multiplied with, or the mean of them. What the net computes is held against a plain loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "tests/onnx_build.h"

#define X "x = input shape=2x4x4\n"

/* The value at [n, c, h, w] of the x of gives_values. */
static double x_at(int n, int c, int h, int w) {
    return -8 + (((n * 2 + c) * 4 + h) * 4 + w) / 4.0;
}

/* Numbers for lines, columns or both: add_floats counts from 1 in steps of 1/8. */
static void numbers_may_differ_along_any_dimension(void **state) {
    (void)state;
    static const struct {
        Shape shape;
        int c, h, w; /* steps of the constant along each dimension */
        const char *net;
    } rows[] = {
        {{1, {4}},
         0,
         0,
         1,
         X "y = transpose x order=3x1x2\ny_2 = batchnorm y eps=1e-12\n"
           "y_3 = transpose y_2 order=2x3x1\n"},
        {{3, {2, 4, 1}},
         4,
         1,
         0,
         X "y = reshape x shape=8x4\ny_2 = batchnorm y eps=1e-12\ny_3 = reshape y_2 shape=2x4x4\n"},
        {{4, {1, 2, 1, 4}},
         4,
         0,
         1,
         X "y = transpose x order=1x3x2\ny_2 = reshape y shape=8x4\n"
           "y_3 = batchnorm y_2 eps=1e-12\ny_4 = reshape y_3 shape=2x4x4\n"
           "y_5 = transpose y_4 order=1x3x2\n"},
        {{3, {2, 4, 4}},
         16,
         4,
         1,
         X "y = reshape x shape=32\ny_2 = batchnorm y eps=1e-12\ny_3 = reshape y_2 shape=2x4x4\n"},
    };
    static const char *const ops[] = {"Add", "Sub", "Mul", "Div"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t op = 0; op < 4; op++) {
            Build *b = onnx_build();
            add_floats(b, "k", rows[i].shape, 1);
            build_node(b, ops[op], "x k", "y");
            Shape shape;
            const float *y = gives_values(b, "y", &shape);
            for (int e = 0; e < 64; e++) {
                int n = e / 32, c = e / 16 % 2, h = e / 4 % 4, w = e % 4;
                double x = x_at(n, c, h, w);
                double k = 1 + (rows[i].c * c + rows[i].h * h + rows[i].w * w) / 8.0;
                double want = op == 0 ? x + k : op == 1 ? x - k : op == 2 ? x * k : x / k;
                assert_true(fabs((double)y[e] - want) <= 1e-6 * fmax(1, fabs(want)));
            }
            assert_true(shape_equal(&shape, &SHAPE(2, 2, 4, 4)));
            value_gives_net(b, NULL, rows[i].net);
        }
    static const Shape wrong[] = {{1, {3}}, {4, {2, 1, 1, 1}}, {2, {4, 3}}, {5, {1, 1, 1, 1, 4}}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        Build *b = onnx_build();
        add_floats(b, "k", wrong[i], 1);
        build_node(b, "Mul", "k x", "y");
        is_refused(b, "y",
                   "y (Mul): its numbers differ from sample to sample, or do not fit 2x4x4");
    }
}

/* Opset 6 says where a shorter operand begins; without that its end meets the value's. */
static void an_operand_may_begin_at_an_axis(void **state) {
    (void)state;
    for (int axis = 1; axis < 4; axis++) {
        Build *b = onnx_build();
        b->opset.version = 6;
        add_floats(b, "k", SHAPE(axis == 1 ? 2 : 4), 1);
        Onnx__NodeProto *add = build_node(b, "Add", "x k", "y");
        set_int(b, add, "broadcast", 1);
        set_int(b, add, "axis", axis);
        Shape shape;
        const float *y = gives_values(b, "y", &shape);
        for (int e = 0; e < 64; e++) {
            int at[] = {e / 32, e / 16 % 2, e / 4 % 4, e % 4};
            assert_true((double)y[e] == x_at(at[0], at[1], at[2], at[3]) + 1 + at[axis] / 8.0);
        }
        arena_free(b->graph.arena);
    }
    static const int64_t wrong[] = {0, 4, -1, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        Build *b = onnx_build();
        add_floats(b, "k", SHAPE(2), 1);
        set_int(b, build_node(b, "Add", "x k", "y"), "axis", wrong[i]);
        is_refused(b, "y", "or do not fit 2x4x4");
    }
}

/* PyTorch's linear layer over a sequence: x w + b for each row. */
static void the_last_dimension_meets_weights(void **state) {
    (void)state;
    Build *b = onnx_build();
    add_floats(b, "w", SHAPE(4, 3), -1);
    add_floats(b, "b", SHAPE(3), 2);
    build_node(b, "MatMul", "x w", "y");
    build_node(b, "Add", "b y", "z");
    Shape shape;
    const float *z = gives_values(b, "z", &shape);
    assert_true(shape_equal(&shape, &SHAPE(2, 2, 4, 3)));
    for (int e = 0; e < 48; e++) {
        int n = e / 24, c = e / 12 % 2, h = e / 3 % 4, o = e % 3;
        double want = 2 + o / 8.0;
        for (int w = 0; w < 4; w++) want += x_at(n, c, h, w) * (-1 + (w * 3 + o) / 8.0);
        assert_true((double)z[e] == want); /* all of them eighths: exact */
    }
    value_gives_net(b, NULL,
                    X "y = transpose x order=3x1x2\ny_2 = conv2d y out=3 kernel=1\n"
                      "y_3 = transpose y_2 order=2x3x1\n");
    b = onnx_build();
    add_floats(b, "w", SHAPE(3, 4), -1);
    build_node(b, "MatMul", "x w", "y");
    is_refused(b, "y", "weights 3x4 on a value 2x4x4: no linear layer");
    b = onnx_build();
    add_floats(b, "w", SHAPE(4, 3), -1);
    build_node(b, "Gemm", "x w", "y");
    is_refused(b, "y", "weights 4x3 on a value 2x4x4: no linear layer");
    b = onnx_build();
    add_floats(b, "w", SHAPE(4, 1 << 17), 0);
    build_node(b, "MatMul", "x w", "y");
    is_refused(b, "y", "its sizes are larger than a convolution's may be");
}

static void means_are_over_any_dimension(void **state) {
    (void)state;
    static const struct {
        int64_t axes[3];
        int count, keepdims;
        Shape shape;
        const char *net;
    } rows[] = {
        {{1},
         1,
         1,
         {4, {2, 1, 4, 4}},
         X "y = transpose x order=2x3x1\ny_2 = reshape y shape=16x2\ny_3 = globalavgpool y_2\n"
           "y_4 = reshape y_3 shape=1x4x4\n"},
        {{-3, 3},
         2,
         0,
         {2, {2, 4}},
         X "y = transpose x order=2x1x3\ny_2 = globalavgpool y\ny_3 = reshape y_2 shape=4\n"},
        {{1, 2, 3},
         3,
         1,
         {4, {2, 1, 1, 1}},
         X "y = reshape x shape=1x2x4x4\ny_2 = globalavgpool y\ny_3 = reshape y_2 shape=1x1x1\n"},
        {{1, 2, 3},
         3,
         0,
         {2, {2, 1}},
         X "y = reshape x shape=1x2x4x4\ny_2 = globalavgpool y\ny_3 = flatten y_2\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Build *b = onnx_build();
        Onnx__NodeProto *mean = build_node(b, "ReduceMean", "x", "y");
        set_ints(b, mean, "axes", rows[i].count, rows[i].axes);
        set_int(b, mean, "keepdims", rows[i].keepdims);
        Shape shape;
        const float *y = gives_values(b, "y", &shape);
        assert_true(shape_equal(&shape, &rows[i].shape));
        bool over[4] = {0};
        for (int k = 0; k < rows[i].count; k++) over[(rows[i].axes[k] + 4) % 4] = true;
        double sum[64] = {0}, results = (double)shape_count(&shape);
        for (int e = 0; e < 64; e++) {
            int at[] = {e / 32, e / 16 % 2, e / 4 % 4, e % 4}, size[] = {2, 2, 4, 4}, to = 0;
            for (int d = 0; d < 4; d++)
                if (!over[d]) to = to * size[d] + at[d];
            sum[to] += x_at(at[0], at[1], at[2], at[3]);
        }
        for (int e = 0; e < (int)results; e++)
            assert_true(fabs((double)y[e] - sum[e] * results / 64) <= 1e-6);
        value_gives_net(b, NULL, rows[i].net);
    }
    static const int64_t wrong[] = {0, -4, 4, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i <= sizeof wrong / sizeof *wrong; i++) {
        Build *b = onnx_build();
        Onnx__NodeProto *mean = build_node(b, "ReduceMean", "x", "y");
        if (i) set_ints(b, mean, "axes", 1, &wrong[i - 1]);
        is_refused(b, "y", "it takes the mean over the batch, or over no dimension");
    }
}

/* A bias that is computed is added behind; what follows is no part of the weights then. */
static void a_bias_may_be_a_value(void **state) {
    (void)state;
    Build *b = onnx_build();
    add_floats(b, "w", SHAPE(32, 3), -1);
    add_floats(b, "v", SHAPE(32, 3), 2);
    add_float(b, "two", 2);
    build_node(b, "Flatten", "x", "f");
    build_node(b, "MatMul", "f v", "bias");
    build_node(b, "Gemm", "f w bias", "g");
    build_node(b, "Mul", "g two", "y");
    Shape shape;
    const float *y = gives_values(b, "y", &shape);
    for (int e = 0; e < 6; e++) {
        double want = 0;
        for (int k = 0; k < 32; k++)
            want += x_at(e / 3, k / 16, k / 4 % 4, k % 4) * (1 + 2 * (k * 3 + e % 3) / 8.0);
        assert_true((double)y[e] == 2 * want); /* eighths: exact */
    }
    arena_free(b->graph.arena);
    b = onnx_build();
    add_floats(b, "w", SHAPE(32, 3), -1);
    build_node(b, "Flatten", "x", "f");
    build_node(b, "Gemm", "f w f", "y");
    is_refused(b, "y", "the inputs differ: 3 and 32");
}

/* 0.5 x + 0.5 between 0 and 1, which has no layer of its own. */
static void a_hard_sigmoid_is_a_map_and_two_ends(void **state) {
    (void)state;
    Build *b = onnx_build();
    Onnx__NodeProto *gate = build_node(b, "HardSigmoid", "x", "y");
    Onnx__AttributeProto *a = onnx_attribute(&b->graph, gate, "alpha", onnx_float.type);
    a->has_f = true;
    a->f = 0.5f;
    Shape shape;
    const float *y = gives_values(b, "y", &shape);
    for (int e = 0; e < 64; e++) {
        double x = -8 + e / 4.0, want = fmin(fmax(0.5 * x + 0.5, 0), 1);
        assert_true(fabs((double)y[e] - want) <= 1e-7);
    }
    value_gives_net(b, NULL, X "y = batchnorm x eps=1e-12\ny_2 = hardtanh y min_val=0\n");
}

/* x - y of two values. */
static void a_difference_is_a_sum(void **state) {
    (void)state;
    Build *b = onnx_build();
    build_node(b, "Relu", "x", "r");
    build_node(b, "Sub", "r x", "y");
    Shape shape;
    const float *y = gives_values(b, "y", &shape);
    for (int e = 0; e < 64; e++) assert_true((double)y[e] == fmax(8 - e / 4.0, 0));
    value_gives_net(b, NULL, X "r = relu x\ny = batchnorm x eps=1e-12\ny_2 = add r y\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_may_differ_along_any_dimension),
        cmocka_unit_test(an_operand_may_begin_at_an_axis),
        cmocka_unit_test(the_last_dimension_meets_weights),
        cmocka_unit_test(means_are_over_any_dimension),
        cmocka_unit_test(a_bias_may_be_a_value),
        cmocka_unit_test(a_hard_sigmoid_is_a_map_and_two_ends),
        cmocka_unit_test(a_difference_is_a_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
