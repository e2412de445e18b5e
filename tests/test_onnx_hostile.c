/* ONNX files that somebody made up: whole messages, which say what cannot be. Each is refused with
 * a reason; test_onnx_damaged.c has the broken ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "quant/onnx/write.h"
#include "tests/onnx_build.h"

#define TENSOR(name) ONNX__TENSOR_PROTO__DATA_TYPE__##name

static Onnx__TensorProto *weights_of(Build *b) {
    add_floats(b, "w", SHAPE(3, 2, 1, 1), 0);
    build_node(b, "Conv", "x w", "y");
    return b->graph.proto->initializer[0];
}

static void what_a_tensor_claims_is_proved(void **state) {
    (void)state;
    Build *b = onnx_build();
    Onnx__StringStringEntryProto entry = ONNX__STRING_STRING_ENTRY_PROTO__INIT, *list[] = {&entry};
    entry.key = (char *)"location";
    entry.value = (char *)"/etc/passwd";
    Onnx__TensorProto *w = weights_of(b);
    w->n_external_data = 1;
    w->external_data = list;
    is_refused(b, "y", "tensor w: its data lies in another file");

    b = onnx_build();
    w = weights_of(b);
    w->has_data_location = true;
    w->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
    is_refused(b, "y", "tensor w: its data lies in another file");

    static const struct {
        int64_t dims[8];
        size_t count;
        const char *fragment;
    } claims[] = {
        {{3, 2, 1, -1}, 4, "tensor w: a dimension of -1"},
        {{INT64_MAX, 2, 1, 1}, 4, "tensor w: a dimension of 9223372036854775807"},
        {{1 << 20, 1 << 20, 1, 1}, 4, "more than 2^28 elements"},
        {{1 << 28, 1 << 28, 1 << 28, 1 << 28, 1 << 28, 0}, 6, "more than 2^28 elements"},
        {{3, 2, 1, 2}, 4, "its dimensions make 12 elements, its data has 6"},
        {{0, 2, 1, 1}, 4, "its dimensions make 0 elements, its data has 6"},
        {{6}, 1, "weights of 1 dimensions over 2 spatial ones"},
        {{2, 3, 1, 1}, 4, "its weights are 2x3x1x1, expected 2x2x1x1"},
    };
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        b = onnx_build();
        w = weights_of(b);
        w->dims = (int64_t *)claims[i].dims;
        w->n_dims = claims[i].count;
        is_refused(b, "y", claims[i].fragment);
    }
    /* more of one kind of data than the type has: only its own counts */
    b = onnx_build();
    w = weights_of(b);
    double doubles[6] = {0};
    float lone = 1;
    w->has_raw_data = false;
    w->data_type = TENSOR(DOUBLE);
    w->n_double_data = 6;
    w->double_data = doubles;
    w->n_float_data = 1;
    w->float_data = &lone;
    gives_net(b, "y", "x = input shape=2x4x4\ny = conv2d x out=3 kernel=1 bias=false\n");
}

static void graphs_that_are_none_are_refused(void **state) {
    (void)state;
    Build *b = onnx_build();
    build_node(b, "Relu", "b", "a");
    build_node(b, "Relu", "a", "b");
    is_refused(b, "b", "node a reads b, which only a later node makes");

    b = onnx_build();
    build_node(b, "Relu", "y", "y");
    is_refused(b, "y", "node y reads y, which only a later node makes");

    b = onnx_build();
    build_node(b, "Relu", "x", "y");
    build_node(b, "Sigmoid", "x", "y");
    is_refused(b, "y", "two values are called y");

    b = onnx_build();
    build_node(b, "Relu", "nowhere", "y");
    is_refused(b, "y", "node y reads nowhere, which nothing makes");

    b = onnx_build();
    build_node(b, "Relu", "x", "y");
    is_refused(b, "z", "nothing makes its output");

    b = onnx_build();
    build_node(b, "Relu", "x", "y");
    onnx_output(&b->graph, "x", &SHAPE(2));
    is_refused(b, "y", "it has 2 outputs");

    b = onnx_build();
    onnx_input(&b->graph, "second", &SHAPE(2));
    build_node(b, "Relu", "x", "y");
    is_refused(b, "y", "it has several inputs");

    b = onnx_build();
    b->opset.version = 22;
    build_node(b, "Relu", "x", "y");
    is_refused(b, "y", "opset 22");

    b = onnx_build();
    ProtobufCBinaryData graph = {3, (uint8_t *)"abc"};
    Onnx__NodeProto *node = build_node(b, "Relu", "x", "y");
    set_int(b, node, "body", 1);
    node->attribute[0]->has_g = true;
    node->attribute[0]->g = graph;
    is_refused(b, "y", "node y (Relu): it has a sub-graph");
}

static void sizes_out_of_range_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *attribute;
        int64_t value;
    } wrong[] = {{"strides", 0},    {"strides", -1},     {"strides", INT64_MAX},
                 {"dilations", 0},  {"dilations", 128},  {"pads", -1},
                 {"pads", 1 << 20}, {"kernel_shape", 0}, {"kernel_shape", 2}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        Build *b = onnx_build();
        weights_of(b);
        Onnx__NodeProto *conv = b->graph.proto->node[0];
        int64_t v = wrong[i].value;
        set_ints(b, conv, wrong[i].attribute, strcmp(wrong[i].attribute, "pads") ? 2 : 4,
                 (int64_t[]){v, v, v, v});
        is_refused(b, "y", "1 node cannot be read");
    }
    for (int64_t groups = -1; groups < 6;
         groups++) { /* 3 outputs of 2 channels: only 1 divides both */
        Build *b = onnx_build();
        weights_of(b);
        set_int(b, b->graph.proto->node[0], "group", groups);
        if (groups != 1)
            is_refused(b, "y", "1 node cannot be read");
        else
            gives_net(b, "y", "x = input shape=2x4x4\ny = conv2d x out=3 kernel=1 bias=false\n");
    }
}

/* Whatever the sizes of a window are said to be, and in whichever way, it is read or refused. */
static void windows_of_any_size_are_survived(void **state) {
    (void)state;
    static const char *const ops[] = {"MaxPool", "AveragePool", "Conv", "ConvTranspose"};
    static const char *const sizes[] = {"kernel_shape", "strides",        "dilations",
                                        "pads",         "output_padding", "output_shape"};
    static const char *const words[] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", "SAME"};
    static const int64_t values[] = {INT64_MIN, -1,  0,       1,         2,
                                     127,       255, 1 << 15, INT32_MAX, INT64_MAX};
    enum { OPS = 4, SIZES = 6, WORDS = 5, VALUES = 10 };
    for (int i = 0; i < OPS * SIZES * WORDS * VALUES * 2; i++) {
        const char *op = ops[i % OPS], *name = sizes[i / OPS % SIZES];
        int64_t v = values[i / (OPS * SIZES * WORDS) % VALUES];
        bool weights = strncmp(op, "Conv", 4) == 0;
        Build *b = onnx_build();
        add_floats(b, "w", SHAPE(2, 2, 3, 2), 0);
        Onnx__NodeProto *node = build_node(b, op, weights ? "x w" : "x", "y");
        set_ints(b, node, name, strcmp(name, "pads") ? 2 : 4, (int64_t[]){v, v, v, v});
        set_word(b, node, "auto_pad", words[i / (OPS * SIZES) % WORDS]);
        set_int(b, node, "ceil_mode", i / (OPS * SIZES * WORDS * VALUES));
        if (strcmp(name, "kernel_shape") != 0) INTS(b, node, "kernel_shape", 3, 2);
        onnx_output(&b->graph, "y", &SHAPE(1));
        File file = onnx_pack(&b->model, b->graph.arena);
        onnx_survives(file.data, file.size);
        arena_free(b->graph.arena);
    }
    Build *b = onnx_build(); /* a weight says the kernel's size */
    add_floats(b, "w", SHAPE(1, 2, 1, 1 << 18), 0);
    INTS(b, build_node(b, "Conv", "x w", "y"), "dilations", 127, 127);
    is_refused(b, "y", "its sizes are larger than a convolution's may be");
}

/* A recurrent layer may lack its first result. */
static void results_that_are_not_there_are_survived(void **state) {
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        Build *b = onnx_build();
        add_floats(b, "W", SHAPE(1, 12, 4), 0);
        add_floats(b, "R", SHAPE(1, 12, 3), 0);
        onnx_reshape(&b->graph, "r", "x", &SHAPE(8, 4), "r");
        INTS(b, build_node(b, "Transpose", "r", "t"), "perm", 1, 0, 2);
        Onnx__NodeProto *lstm = build_node(b, "LSTM", "t W R", "");
        set_int(b, lstm, "hidden_size", 3);
        onnx_node_output(&b->graph, lstm, kind == 1 ? "" : "end");
        if (kind == 2) onnx_node_output(&b->graph, lstm, "cell");
        if (kind == 0)
            is_refused(b, "end", "its output is not what its last layer makes");
        else
            is_refused(b, "cell", kind == 1 ? "nothing makes its output" : "1 node cannot be read");
    }
}

/* An input of no name is one that is not there: of every operator that passes it on or looks at it
 * before it asks for a value. */
static void inputs_that_are_not_there_are_refused(void **state) {
    (void)state;
    static const char *const ops[] = {"AveragePool", "MaxPool", "Identity", "Dropout",
                                      "Relu",        "Flatten", "Squeeze",  "Concat"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        Build *b = onnx_build();
        Onnx__NodeProto *node = build_node(b, ops[i], "-", "y");
        if (strstr(ops[i], "Pool")) INTS(b, node, "kernel_shape", 2, 2);
        is_refused(b, "y", "its input 0 is missing");
    }
}

static void add_grid(Build *b, const char *scale_name, float scale, const char *zero_name,
                     int zero) {
    add_float(b, scale_name, scale);
    add_byte(b, zero_name, TENSOR(UINT8), zero);
}

static void quantization_that_is_none_is_refused(void **state) {
    (void)state;
    static const float scales[] = {0, -1, 1e-40f, INFINITY, NAN};
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        Build *b = onnx_build();
        add_grid(b, "s", scales[i], "z", 1);
        build_node(b, "QuantizeLinear", "x s z", "q");
        build_node(b, "DequantizeLinear", "q s z", "y");
        is_refused(b, "y", "q (QuantizeLinear): scale");
    }
    Build *b = onnx_build();
    add_grid(b, "s", 0.5f, "z", 1);
    add_grid(b, "t", 0.25f, "u", 1);
    build_node(b, "QuantizeLinear", "x s z", "q");
    build_node(b, "DequantizeLinear", "q t u", "d");
    build_node(b, "Relu", "d", "y");
    is_refused(b, "y", "its scale or zero point is not that of the QuantizeLinear");

    b = onnx_build();
    add_grid(b, "s", 0.5f, "z", 1);
    build_node(b, "QuantizeLinear", "x s z", "q");
    build_node(b, "Relu", "q", "y");
    is_refused(b, "y", "its input 0 is in codes");

    b = onnx_build(); /* a pool passes codes on: it cannot change their grid */
    add_grid(b, "s", 0.5f, "z", 1);
    add_grid(b, "t", 0.25f, "u", 1);
    build_node(b, "QuantizeLinear", "x s z", "q");
    build_node(b, "DequantizeLinear", "q s z", "d");
    Onnx__NodeProto *pool = build_node(b, "MaxPool", "d", "p");
    INTS(b, pool, "kernel_shape", 2, 2);
    build_node(b, "QuantizeLinear", "p t u", "pq");
    build_node(b, "DequantizeLinear", "pq t u", "y");
    is_refused(b, "y", "x: its value is rounded to two grids, there and at p");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_tensor_claims_is_proved),
        cmocka_unit_test(graphs_that_are_none_are_refused),
        cmocka_unit_test(sizes_out_of_range_are_refused),
        cmocka_unit_test(windows_of_any_size_are_survived),
        cmocka_unit_test(results_that_are_not_there_are_survived),
        cmocka_unit_test(inputs_that_are_not_there_are_refused),
        cmocka_unit_test(quantization_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
