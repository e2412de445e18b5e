/* What windows and dropout of other makers' graphs become. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/onnx_build.h"

/* Padding that differs between both sides, and what says the same: auto_pad, ceil_mode. */
static void padding_that_differs_is_read(void **state) {
    (void)state;
    static const struct {
        const char *op, *pad, *net; /* auto_pad, NULL: pads=0,1,2,0 */
        int64_t size, stride, ceil, count;
    } cases[] = {
        {"MaxPool", NULL, "maxpool x kernel=3 stride=1 padding=0x1:2x0", 3, 1, 0, 0},
        {"MaxPool", "VALID", "maxpool x kernel=2 stride=1", 2, 1, 0, 0},
        {"MaxPool", "SAME_UPPER", "maxpool x kernel=2 stride=1 padding=0:1", 2, 1, 0, 0},
        {"MaxPool", "SAME_LOWER", "maxpool x kernel=2 stride=1 padding=1:0", 2, 1, 0, 0},
        {"MaxPool", "NOTSET", "maxpool x kernel=3 stride=2 padding=0:1", 3, 2, 1, 0},
        /* a window that would begin behind the end is none */
        {"MaxPool", "NOTSET", "maxpool x kernel=1 stride=4", 1, 4, 1, 0},
        {"AveragePool", NULL, "avgpool x kernel=3 stride=1 padding=0x1:2x0", 3, 1, 0, 1},
        {"AveragePool", NULL, "avgpool x kernel=3 stride=1 padding=0x1:2x0 count_include_pad=false",
         3, 1, 0, 0},
        {"AveragePool", "NOTSET", "avgpool x kernel=2", 2, 2, 0, 0},
        {"AveragePool", "NOTSET", "avgpool x kernel=3 stride=2 padding=0:1 count_include_pad=false",
         3, 2, 1, 1},
        {"Conv", NULL, "conv2d x out=2 kernel=3 padding=0x1:2x0 bias=false", 3, 1, 0, 0},
        {"Conv", "SAME_UPPER", "conv2d x out=2 kernel=2 padding=0:1 bias=false", 2, 1, 0, 0},
        {"ConvTranspose", NULL, "conv_transpose2d x out=2 kernel=3 padding=0x1:2x0 bias=false", 3,
         1, 0, 0},
        {"ConvTranspose", "SAME_UPPER",
         "conv_transpose2d x out=2 kernel=3 stride=2 padding=0:1 bias=false", 3, 2, 0, 0},
        {"ConvTranspose", "SAME_LOWER",
         "conv_transpose2d x out=2 kernel=3 stride=2 padding=1:0 bias=false", 3, 2, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Build *b = onnx_build();
        bool conv = strncmp(cases[i].op, "Conv", 4) == 0;
        int64_t size = cases[i].size;
        add_floats(b, "w", SHAPE(2, 2, (int)size, (int)size), 0);
        Onnx__NodeProto *node = build_node(b, cases[i].op, conv ? "x w" : "x", "y");
        INTS(b, node, "kernel_shape", size, size);
        INTS(b, node, "strides", cases[i].stride, cases[i].stride);
        if (cases[i].ceil) set_int(b, node, "ceil_mode", 1);
        if (cases[i].count) set_int(b, node, "count_include_pad", 1);
        if (cases[i].pad)
            set_word(b, node, "auto_pad", cases[i].pad);
        else
            INTS(b, node, "pads", 0, 1, 2, 0);
        gives_net(b, "y",
                  arena_text(b->graph.arena, "x = input shape=2x4x4\ny = %s\n", cases[i].net));
    }
}

/* Zeros of a Pad are values; zeros that a mean leaves out are not. */
static void kinds_of_padding_do_not_mix(void **state) {
    (void)state;
    static const int64_t pads[] = {0, 0, 1, 0, 0, 0, 2, 1};
    for (int kind = 0; kind < 3; kind++) {
        Build *b = onnx_build();
        add_longs(b, "pads", 8, pads);
        build_node(b, "Pad", "x pads", "padded");
        Onnx__NodeProto *pool = build_node(b, "AveragePool", "padded", "y");
        INTS(b, pool, "kernel_shape", 3, 3);
        if (kind > 0) INTS(b, pool, "pads", 1, 0, 0, 0);
        if (kind > 1) set_int(b, pool, "count_include_pad", 1);
        if (kind == 0)
            gives_net(b, "y",
                      "x = input shape=2x4x4\ny = avgpool x kernel=3 stride=1 padding=1x0:2x1\n");
        else if (kind == 1)
            is_refused(b, "y", "some of its padding counts in the mean and some does not");
        else
            gives_net(b, "y",
                      "x = input shape=2x4x4\ny = avgpool x kernel=3 stride=1 padding=2x0:2x1\n");
    }
    Build *b = onnx_build();
    Onnx__NodeProto *pool = build_node(b, "AveragePool", "x", "y");
    INTS(b, pool, "kernel_shape", 3, 3);
    INTS(b, pool, "strides", 2, 2);
    INTS(b, pool, "pads", 1, 1, 1, 1);
    set_int(b, pool, "ceil_mode", 1);
    set_int(b, pool, "count_include_pad", 1);
    is_refused(b, "y", "some of its padding counts in the mean and some does not");
}

/* auto_pad is of the input as the node sees it. */
static void same_counts_zeros_of_a_pad(void **state) {
    (void)state;
    static const int64_t pads[] = {0, 0, 1, 1, 0, 0, 0, 0};
    Build *b = onnx_build();
    add_longs(b, "pads", 8, pads);
    build_node(b, "Pad", "x pads", "padded");
    add_floats(b, "w", SHAPE(1, 2, 3, 3), 0);
    Onnx__NodeProto *conv = build_node(b, "Conv", "padded w", "y");
    INTS(b, conv, "strides", 2, 2);
    set_word(b, conv, "auto_pad", "SAME_UPPER");
    gives_net(b, "y",
              "x = input shape=2x4x4\n"
              "y = conv2d x out=1 kernel=3 stride=2 padding=2:1 bias=false\n");
}

static void the_size_of_a_transposed_result_may_be_said(void **state) {
    (void)state;
    static const struct {
        int64_t size, output_padding;
        const char *net; /* NULL: refused */
    } cases[] = {{9, 0, "stride=2"},
                 {7, 0, "stride=2 padding=1"},
                 {6, 0, "stride=2 padding=2:1"},
                 {10, 0, "stride=2 output_padding=1"},
                 {10, 1, "stride=2 output_padding=1"},
                 {11, 0, NULL},
                 {0, 0, NULL},
                 {-1, 0, NULL},
                 {INT64_MAX, 0, NULL},
                 {INT64_MIN, 0, NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Build *b = onnx_build();
        add_floats(b, "w", SHAPE(2, 2, 3, 3), 0);
        Onnx__NodeProto *node = build_node(b, "ConvTranspose", "x w", "y");
        INTS(b, node, "strides", 2, 2);
        if (cases[i].output_padding) INTS(b, node, "output_padding", 1, 1);
        INTS(b, node, "output_shape", cases[i].size, cases[i].size);
        if (cases[i].net)
            gives_net(b, "y",
                      arena_text(b->graph.arena,
                                 "x = input shape=2x4x4\n"
                                 "y = conv_transpose2d x out=2 kernel=3 %s bias=false\n",
                                 cases[i].net));
        else
            is_refused(b, "y", "1 node cannot be read");
    }
}

static void some_dimensions_have_a_mean(void **state) {
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        Build *b = onnx_build();
        Onnx__NodeProto *mean = build_node(b, "ReduceMean", "x", "y");
        INTS(b, mean, "axes", -1);
        set_int(b, mean, "keepdims", keep);
        gives_net(b, "y",
                  keep ? "x = input shape=2x4x4\ny = avgpool x kernel=1x4\n"
                       : "x = input shape=2x4x4\ny = avgpool x kernel=1x4\n"
                         "y_2 = reshape y shape=2x4\n");
    }
}

static void dropout_is_one_unless_it_trains(void **state) {
    (void)state;
    for (int trains = 0; trains < 3; trains++) {
        Build *b = onnx_build();
        add_float(b, "ratio", trains == 2 ? 0 : 0.25f);
        add_byte(b, "trains", ONNX__TENSOR_PROTO__DATA_TYPE__BOOL, trains > 0);
        build_node(b, "Dropout", "x ratio trains", "y");
        if (trains == 1)
            is_refused(b, "y", "it is training");
        else
            gives_net(b, "y",
                      trains ? "x = input shape=2x4x4\ny = dropout x p=0\n"
                             : "x = input shape=2x4x4\ny = dropout x p=0.25\n");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(padding_that_differs_is_read),
        cmocka_unit_test(kinds_of_padding_do_not_mix),
        cmocka_unit_test(same_counts_zeros_of_a_pad),
        cmocka_unit_test(the_size_of_a_transposed_result_may_be_said),
        cmocka_unit_test(some_dimensions_have_a_mean),
        cmocka_unit_test(dropout_is_one_unless_it_trains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
