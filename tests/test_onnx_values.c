/* ONNX values that a net has otherwise: one number a sample without dimensions of its own,
 * sequences with the steps first, one of several outputs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "tests/onnx_build.h"

#define X "x = input shape=2x4x4\n"

/* A graph whose only input is "v", [N]. */
static Build *line_build(void) {
    Build *b = onnx_build();
    onnx_input(&b->graph, "v", &(Shape){0});
    b->graph.proto->input[0] = b->graph.proto->input[1];
    b->graph.proto->n_input = 1;
    return b;
}

/* A batch of single numbers, for all that looks at each by itself. */
static void a_value_of_one_dimension_is_a_batch(void **state) {
    (void)state;
    Build *b = line_build();
    add_float(b, "two", 2);
    build_node(b, "Sigmoid", "v", "s");
    build_node(b, "Mul", "s v", "m");
    build_node(b, "Add", "m two", "y");
    gives_net(b, "y", "v = input shape=1\ns = sigmoid v\nm = mul s v\ny = batchnorm m eps=1e-12\n");
    b = line_build();
    add_longs(b, "to", 2, (const int64_t[]){-1, 1});
    build_node(b, "Relu", "v", "r");
    build_node(b, "Reshape", "r to", "y"); /* [N] -> [N, 1], and back */
    INTS(b, build_node(b, "Squeeze", "y", "z"), "axes", 1);
    INTS(b, build_node(b, "Unsqueeze", "z", "u"), "axes", 1, 2);
    build_node(b, "Flatten", "u", "f");
    gives_net(b, "f", "v = input shape=1\nr = relu v\nu = reshape r shape=1x1\nf = flatten u\n");
    b = line_build();
    build_node(b, "Flatten", "v", "f");
    build_node(b, "Softmax", "f", "y");
    gives_net(b, "y", "v = input shape=1\ny = softmax v\n");
}

/* What mixes numbers would mix samples; and nobody knows what several numbers would be for. */
static void a_value_of_one_dimension_is_no_vector(void **state) {
    (void)state;
    static const char *const ops[] = {"Softmax v",   "Concat v v", "MatMul v w",   "Gemm v w",
                                      "Add v k",     "Div k v",    "ReduceMean v", "Gather v i",
                                      "Transpose v", "Conv v w"};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        Build *b = line_build();
        add_floats(b, "w", SHAPE(4, 3), 0);
        add_floats(b, "k", SHAPE(4), 0);
        add_longs(b, "i", 1, (const int64_t[]){0});
        char op[16] = "";
        const char *inputs = strchr(ops[i], ' ') + 1;
        memcpy(op, ops[i], (size_t)(inputs - ops[i] - 1));
        build_node(b, op, inputs, "y");
        is_refused(b, "y", "is one number a sample, [N]");
    }
    Build *b = line_build();
    add_floats(b, "k", SHAPE(1, 1), 0);
    build_node(b, "Add", "v k", "y"); /* [1, N] */
    is_refused(b, "y", "is one number a sample");
    b = line_build();
    build_node(b, "Flatten", "v", "f");
    build_node(b, "Add", "f v", "y"); /* [N, 1] + [N] is [N, N] */
    is_refused(b, "y", "is one number a sample");
    b = onnx_build(); /* nor do convolutions and pools read steps that come first */
    add_longs(b, "shape", 3, (const int64_t[]){0, 4, 8});
    add_floats(b, "w", SHAPE(2, 4, 1), 0);
    build_node(b, "Reshape", "x shape", "r");
    INTS(b, build_node(b, "Transpose", "r", "t"), "perm", 1, 0, 2);
    build_node(b, "Conv", "t w", "y");
    is_refused(b, "y", "y (Conv): its input 0 has its dimensions in the order TNH");
    b = onnx_build(); /* zeros at the end of a sequence are none of its steps */
    add_longs(b, "shape", 3, (const int64_t[]){0, 8, 4});
    add_longs(b, "pads", 6, (const int64_t[]){0, 0, 0, 0, 0, 1});
    build_node(b, "Reshape", "x shape", "r");
    build_node(b, "Pad", "r pads", "p");
    INTS(b, build_node(b, "Transpose", "p", "y"), "perm", 1, 0, 2);
    is_refused(b, "y", "it reads a padded value");
    b = line_build();
    set_int(b, build_node(b, "Flatten", "v", "y"), "axis", 0);
    is_refused(b, "y", "axis is 0, only 1 can be had");
}

/* What a regression gives: y.squeeze(1), y.view(-1), y[:, 0], y.mean((1, 2, 3)). */
static void an_output_may_have_one_dimension(void **state) {
    (void)state;
    static const char *const ops[] = {"Squeeze", "Reshape", "Gather"};
    for (int i = 0; i < 3; i++) {
        Build *b = onnx_build();
        add_floats(b, "w", SHAPE(32, 1), 0);
        add_longs(b, "axes", 1, (const int64_t[]){1});
        add_longs(b, "rest", 1, (const int64_t[]){-1});
        static const int64_t zero = 0;
        onnx_tensor(&b->graph, "zero", ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 8, &(Shape){0}, &zero);
        build_node(b, "Flatten", "x", "f");
        build_node(b, "Gemm", "f w", "g");
        Onnx__NodeProto *last = build_node(b, ops[i],
                                           i == 0   ? "g axes"
                                           : i == 1 ? "g rest"
                                                    : "g zero",
                                           "l");
        if (i == 2) set_int(b, last, "axis", 1);
        build_node(b, "Sigmoid", "l", "y");
        gives_net(b, "y", X "f = flatten x\ng = linear f out=1 bias=false\ny = sigmoid g\n");
    }
    Build *b = onnx_build();
    Onnx__NodeProto *mean = build_node(b, "ReduceMean", "x", "y");
    INTS(b, mean, "axes", 3, 1, 2);
    set_int(b, mean, "keepdims", 0);
    build_node(b, "Tanh", "y", "t");
    gives_net(b, "t",
              X "y = reshape x shape=1x2x4x4\ny_2 = globalavgpool y\ny_3 = flatten y_2\n"
                "t = tanh y_3\n");
    b = onnx_build();
    add_longs(b, "rest", 1, (const int64_t[]){-1});
    build_node(b, "Reshape", "x rest", "y"); /* 32 numbers a sample */
    is_refused(b, "y", "its shape does not keep the batch");
}

/* PyTorch's dropout between two LSTM layers sees the steps first. */
static void functions_of_each_number_ask_for_no_order(void **state) {
    (void)state;
    for (int vector = 0; vector < 2; vector++) {
        Build *b = onnx_build();
        add_longs(b, "shape", 3, (const int64_t[]){0, 4, 8});
        add_longs(b, "direction", 1, (const int64_t[]){1});
        add_floats(b, "W", SHAPE(1, 12, 8), 0);
        add_floats(b, "V", SHAPE(1, 12, 3), 0);
        add_floats(b, "R", SHAPE(1, 12, 3), 0);
        add_floats(b, "k", SHAPE(vector ? 3 : 1), 0);
        build_node(b, "Reshape", "x shape", "r");
        INTS(b, build_node(b, "Transpose", "r", "t"), "perm", 1, 0, 2);
        set_int(b, build_node(b, "LSTM", "t W R", "a"), "hidden_size", 3);
        build_node(b, "Squeeze", "a direction", "s");
        build_node(b, "Dropout", "s", "d");
        build_node(b, "Add", "d k", "e"); /* 3 could be meant for features or for steps */
        build_node(b, "Mul", "e d", "m");
        set_int(b, build_node(b, "LSTM", "m V R", "c"), "hidden_size", 3);
        build_node(b, "Squeeze", "c direction", "u");
        INTS(b, build_node(b, "Transpose", "u", "y"), "perm", 1, 0, 2);
        if (vector)
            is_refused(b, "y", "e (Add): its input 0 has its dimensions in the order TNH");
        else
            gives_net(b, "y",
                      X "r = reshape x shape=4x8\na = lstm r hidden=3 bias=false\nd = dropout a\n"
                        "e = batchnorm d eps=1e-12\nm = mul e d\nc = lstm m hidden=3 bias=false\n");
    }
}

/* Directions are a recurrent layer's: what is not one does not know how many there are. */
static void directions_are_a_layers_own(void **state) {
    (void)state;
    Build *b = onnx_build();
    add_longs(b, "shape", 3, (const int64_t[]){0, 4, 8});
    add_longs(b, "direction", 1, (const int64_t[]){1});
    add_floats(b, "W", SHAPE(1, 12, 8), 0);
    add_floats(b, "R", SHAPE(1, 12, 3), 0);
    build_node(b, "Reshape", "x shape", "r");
    INTS(b, build_node(b, "Transpose", "r", "t"), "perm", 1, 0, 2);
    set_int(b, build_node(b, "LSTM", "t W R", "a"), "hidden_size", 3);
    build_node(b, "Dropout", "a", "d");
    build_node(b, "Squeeze", "d direction", "s");
    is_refused(b, "s", "d (Dropout): its input 0 has its dimensions in the order TDNH");
}

/* Sizes of a sequence with the steps first, from which PyTorch takes the batch for its states. */
static void sizes_follow_the_order_of_axes(void **state) {
    (void)state;
    static const char *const nets[] = {X "r = reshape x shape=4x8\ny = flatten r\n",
                                       X "r = reshape x shape=4x8\ny = reshape r shape=4x8\n",
                                       X "r = reshape x shape=4x8\ny = reshape r shape=8x4\n"};
    for (int i = 0; i < 3; i++) { /* [N, -1], [N, T, -1], [N, H, -1] of T N H */
        Build *b = onnx_build();
        static const int64_t at[][2] = {{1, 1}, {1, 0}, {1, 2}};
        add_longs(b, "shape", 3, (const int64_t[]){0, 4, 8});
        add_longs(b, "at", i ? 2 : 1, at[i]);
        add_longs(b, "rest", 1, (const int64_t[]){-1});
        build_node(b, "Reshape", "x shape", "r");
        INTS(b, build_node(b, "Transpose", "r", "t"), "perm", 1, 0, 2);
        build_node(b, "Shape", "t", "sizes");
        build_node(b, "Gather", "sizes at", "some");
        build_node(b, "Concat", "some rest", "to");
        build_node(b, "Reshape", "r to", "y");
        gives_net(b, "y", nets[i]);
    }
}

/* GRU and LSTM with layout=1 have the batch first; a GRU says where its reset gate multiplies, and
 * if it says nothing, before the matrix. */
static void a_sequence_may_have_the_batch_first(void **state) {
    (void)state;
    for (int end = 0; end < 2; end++)
        for (int after = 0; after < 2; after++) {
            Build *b = onnx_build();
            add_longs(b, "shape", 3, (const int64_t[]){0, 4, 8});
            add_floats(b, "W", SHAPE(1, 9, 8), 0);
            add_floats(b, "R", SHAPE(1, 9, 3), 0);
            build_node(b, "Reshape", "x shape", "r");
            Onnx__NodeProto *gru = build_node(b, "GRU", "r W R", "y");
            onnx_node_output(&b->graph, gru, "y_h");
            set_int(b, gru, "hidden_size", 3);
            set_int(b, gru, "layout", 1);
            if (after) set_int(b, gru, "linear_before_reset", 1);
            INTS(b, build_node(b, "Squeeze", end ? "y_h" : "y", "z"), "axes", end ? 1 : 2);
            gives_net(b, "z",
                      arena_text(b->graph.arena,
                                 X "r = reshape x shape=4x8\ny = gru r hidden=3 bias=false%s%s\n",
                                 end ? " output=last" : "", after ? "" : " reset=before"));
        }
}

/* Some tools say what is the case anyway. */
static void activations_may_be_said(void **state) {
    (void)state;
    static const char *const words[] = {"Sigmoid", "Tanh", "Sigmoid", "Tanh", "Sigmoid"};
    for (int i = 0; i < 6; i++) {
        bool both = i == 4 || i == 5, usual = i == 2 || i == 4;
        Build *b = onnx_build();
        add_longs(b, "shape", 3, (const int64_t[]){0, 4, 8});
        add_floats(b, "W", SHAPE(1 + both, 9, 8), 0);
        add_floats(b, "R", SHAPE(1 + both, 9, 3), 0);
        build_node(b, "Reshape", "x shape", "r");
        Onnx__NodeProto *gru = build_node(b, "GRU", "r W R", "");
        onnx_node_output(&b->graph, gru, "y");
        set_int(b, gru, "hidden_size", 3);
        set_int(b, gru, "layout", 1);
        if (both) set_word(b, gru, "direction", "bidirectional");
        bool other = i == 3; /* Tanh, Sigmoid */
        set_words(b, gru, "activations", i == 5 || other ? 2 : i, words + other);
        build_node(b, "Flatten", "y", "z");
        /* read: what is behind it, which drops no direction, is to blame */
        is_refused(b, "z", usual ? "z (Flatten)" : "from zeros on, with usual activations");
    }
}

static Build *build_with_outputs(void) {
    Build *b = onnx_build();
    Onnx__NodeProto *pool = build_node(b, "MaxPool", "x", "p");
    INTS(b, pool, "kernel_shape", 2, 2);
    onnx_node_output(&b->graph, pool, "indices");
    Onnx__NodeProto *dropout = build_node(b, "Dropout", "p", "d");
    onnx_node_output(&b->graph, dropout, "mask");
    build_node(b, "ArgMax", "d", "best"); /* no layer does that: not in the way of the others */
    static const char *const outputs[] = {"d", "mask", "indices", "best"};
    for (int i = 0; i < 4; i++) onnx_output(&b->graph, outputs[i], &SHAPE(1));
    return b;
}

/* A net has one output; which of several is to be said. It may be a value inside of the graph. */
static void one_output_is_chosen(void **state) {
    (void)state;
    value_is_refused(build_with_outputs(), NULL,
                     "it has 4 outputs, a net has one: choose with --graph-output (d, mask, "
                     "indices, best)");
    value_gives_net(build_with_outputs(), "d",
                    X "p = maxpool x kernel=2 stride=1\nd = dropout p\n");
    value_gives_net(build_with_outputs(), "p", X "p = maxpool x kernel=2 stride=1\n");
    value_is_refused(build_with_outputs(), "indices", "p (MaxPool): its indices are asked for");
    value_is_refused(build_with_outputs(), "mask", "its output is not what its last layer makes");
    value_is_refused(build_with_outputs(), "best", "best (ArgMax): this operator is not supported");
    value_is_refused(build_with_outputs(), "nobody", "nothing makes its output");
}

/* Sizes, whole or in part: x.reshape(x.shape[:1], -1) of newer exporters. */
static void sizes_have_a_start_and_an_end(void **state) {
    (void)state;
    static const struct {
        int64_t start, end;
        const char *net;
    } rows[] = {
        {0, 1, X "y = flatten x\n"},
        {INT64_MIN, -3, X "y = flatten x\n"},
        {-9, 2, X "y = reshape x shape=2x16\n"},
        {0, INT64_MAX, NULL}, /* nothing is left for -1, but 1 */
        {2, 1, NULL},
        {1, 2, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Build *b = onnx_build();
        add_longs(b, "rest", 1, (const int64_t[]){-1});
        Onnx__NodeProto *shape = build_node(b, "Shape", "x", "shape");
        set_int(b, shape, "start", rows[i].start);
        set_int(b, shape, "end", rows[i].end);
        build_node(b, "Concat", "shape rest", "to");
        build_node(b, "Reshape", "x to", "y");
        if (rows[i].net)
            gives_net(b, "y", rows[i].net);
        else if (rows[i].end > 4)
            gives_net(b, "y", X "y = reshape x shape=2x4x4x1\n");
        else
            is_refused(b, "y", "its shape does not keep the batch");
    }
}

static void a_graph_may_compute_nothing(void **state) {
    (void)state;
    Build *b = onnx_build();
    build_node(b, "Identity", "x", "y");
    gives_net(b, "y", X "y = reshape x shape=2x4x4\n");
    gives_net(onnx_build(), "x", X "x_2 = reshape x shape=2x4x4\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_of_one_dimension_is_a_batch),
        cmocka_unit_test(a_value_of_one_dimension_is_no_vector),
        cmocka_unit_test(an_output_may_have_one_dimension),
        cmocka_unit_test(functions_of_each_number_ask_for_no_order),
        cmocka_unit_test(directions_are_a_layers_own),
        cmocka_unit_test(sizes_follow_the_order_of_axes),
        cmocka_unit_test(a_sequence_may_have_the_batch_first),
        cmocka_unit_test(activations_may_be_said),
        cmocka_unit_test(one_output_is_chosen),
        cmocka_unit_test(sizes_have_a_start_and_an_end),
        cmocka_unit_test(a_graph_may_compute_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
