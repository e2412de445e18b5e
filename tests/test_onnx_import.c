/* ONNX read back. What stair exports returns as the same file; graphs of other makers say the same
 * in their ways; what cannot be read is listed; and files that somebody damaged or made up are
 * refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/zoo.h"
#include "quant/given.h"
#include "quant/onnx/write.h"
#include "tests/onnx_build.h"
#include "tests/scratch.h"
#include "tests/small_model.h"

static File export(Model *model) {
    Arena *arena = arena_new();
    Error error = {0};
    const Onnx__ModelProto *proto = onnx_model(model, "test", arena, &error);
    if (!proto) fail_msg("%s", error.message);
    return onnx_pack(proto, arena);
}

/* --- what stair writes --- */

enum { CONFIGS = 6 };

static QuantConfig configs(int number) {
    QuantConfig config = quant_config_default();
    config.activation.is_signed = number == 1;
    config.activation.bits = number == 2 ? 5 : 8;
    config.weight.bits = number == 2 ? 3 : 8;
    config.weight.symmetric = number < 4;
    config.weight.per_channel = number != 3 && number != 5;
    config.weight.full_range = number == 3;
    return config;
}

static void an_exported_file_comes_back(void **state) {
    (void)state;
    for (int stage = 0; stage < STAGE_COUNT; stage++)
        for (int number = 0; number < CONFIGS; number++) {
            QuantConfig config = configs(number);
            Model *model = small_model((Stage)stage, &config);
            File file = export(model);
            Model *back = onnx_imported(&file);
            assert_int_equal(back->stage, stage == STAGE_FLOAT ? STAGE_FLOAT : STAGE_CALIBRATED);
            assert_memory_equal(&back->pixels, &model->pixels, sizeof model->pixels);
            float want[SMALL_BATCH * SMALL_OUTPUTS], have[SMALL_BATCH * SMALL_OUTPUTS];
            (stage == STAGE_FLOAT ? (void (*)(Model *, float *))small_forward : small_run)(model,
                                                                                           want);
            (stage == STAGE_FLOAT ? (void (*)(Model *, float *))small_forward : small_run)(back,
                                                                                           have);
            assert_memory_equal(have, want, sizeof want);
            File again = export(back);
            assert_int_equal(again.size, file.size);
            assert_memory_equal(again.data, file.data, file.size);
            model_free(model);
            model_free(back);
            arena_free(file.arena);
            arena_free(again.arena);
        }
}

/* The file of a model, the model that it gives, and that one's file: the same bytes. */
static void comes_back(Model *model) {
    File file = export(model);
    Model *back = onnx_imported(&file);
    File again = export(back);
    assert_int_equal(again.size, file.size);
    assert_memory_equal(again.data, file.data, file.size);
    model_free(back);
    arena_free(file.arena);
    arena_free(again.arena);
}

/* A net with every layer that ONNX knows, in float and on grids that are made up. */
static void every_layer_comes_back(void **state) {
    (void)state;
    Error error = {0};
    Graph *graph = zoo_open("tests/interop/kinds.net", &error);
    if (!graph) fail_msg("%s", error.message);
    graph_init(graph, 1);
    Model *model = model_new(graph, &error);
    comes_back(model);
    model_free(model);
    for (int affine = 0; affine < 2; affine++) {
        graph = zoo_open("tests/interop/kinds.net", &error);
        graph_init(graph, 1);
        model = model_new(graph, &error);
        QuantConfig config = quant_config_default();
        config.weight.symmetric = !affine;
        assert_true(model_quantize(model, &config, &error));
        for (int i = 0; i < model->quant->quantizers; i++) {
            Quantizer *quantizer = model->quant->quantizer[i];
            if (!quantizer->fixed) quantizer_give(quantizer, 0.01f * (float)(i + 1), 100 + i);
            quantizer->ready = true;
        }
        comes_back(model);
        model_free(model);
    }
}

/* Layers over sequences: ONNX has other gates, biases side by side and the steps first. */
static void sequences_come_back(void **state) {
    (void)state;
    static const char *const layers[] = {"lstm r hidden=3", "gru r hidden=3 bidirectional=true",
                                         "gru r hidden=2 output=last bias=false",
                                         "gru r hidden=3 bidirectional=true reset=before",
                                         "lstm r hidden=2 output=last bidirectional=true"};
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        Arena *arena = arena_new();
        Error error = {0};
        const char *text = arena_text(arena,
                                      "x = input shape=1x4x5\nr = reshape x shape=4x5\n"
                                      "y = %s\nf = flatten y\nz = linear f out=2\n",
                                      layers[i]);
        Graph *graph = graph_parse(text, strlen(text), "sequence", &error);
        if (!graph) fail_msg("%s", error.message);
        graph_init(graph, i);
        Model *model = model_new(graph, &error);
        comes_back(model);
        model_free(model);
        arena_free(arena);
    }
}

/* A graph whose input is a sequence as PyTorch's batch_first=False has it: the net's has the batch
 * first, whichever way the file gives what it makes. */
static void steps_may_come_first(void **state) {
    (void)state;
    for (int last = 0; last < 2; last++) {
        Build *b = onnx_build();
        onnx_input(&b->graph, "s", &SHAPE(5, 4)); /* N is the steps' here, 5 the batch */
        Onnx__TensorShapeProto *shape = b->graph.proto->input[1]->type->tensor_type->shape;
        shape->dim[0]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        shape->dim[0]->dim_value = 6;
        b->graph.proto->input[0] = b->graph.proto->input[1];
        b->graph.proto->n_input = 1;
        add_floats(b, "W", SHAPE(1, 12, 4), 0);
        add_floats(b, "R", SHAPE(1, 12, 3), 0);
        Onnx__NodeProto *lstm = build_node(b, "LSTM", "s W R", last ? "" : "y");
        set_int(b, lstm, "hidden_size", 3);
        if (last) onnx_node_output(&b->graph, lstm, "y");
        gives_net(b, "y",
                  last ? "s = input shape=1x6x4\ns_shaped = reshape s shape=6x4\n"
                         "y = lstm s_shaped hidden=3 bias=false output=last\n"
                       : "s = input shape=1x6x4\ns_shaped = reshape s shape=6x4\n"
                         "y = lstm s_shaped hidden=3 bias=false\n");
    }
}

/* An input without channels is an image of grey. */
static void a_line_is_an_input(void **state) {
    (void)state;
    Build *b = onnx_build();
    onnx_input(&b->graph, "line", &SHAPE(9));
    b->graph.proto->input[0] = b->graph.proto->input[1];
    b->graph.proto->n_input = 1;
    build_node(b, "Relu", "line", "y");
    gives_net(b, "y", "line = input shape=1x9\nline_shaped = flatten line\ny = relu line_shaped\n");
}

/* PyTorch's y[:, -1]: the layer gives where it ends, if nobody else reads what it gives; else that
 * is a slice. */
static void the_last_step_is_an_output(void **state) {
    (void)state;
    for (int others = 0; others < 2; others++) {
        Build *b = onnx_build();
        static const int64_t shape[] = {0, 4, 8}, direction[] = {1};
        static const int64_t last = -1;
        add_longs(b, "shape", 3, shape);
        add_longs(b, "direction", 1, direction);
        onnx_tensor(&b->graph, "last", ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 8, &(Shape){0}, &last);
        add_floats(b, "W", SHAPE(1, 12, 8), 0);
        add_floats(b, "R", SHAPE(1, 12, 3), 0);
        build_node(b, "Reshape", "x shape", "r");
        INTS(b, build_node(b, "Transpose", "r", "t"), "perm", 1, 0, 2);
        set_int(b, build_node(b, "LSTM", "t W R", "y"), "hidden_size", 3);
        build_node(b, "Squeeze", "y direction", "s");
        INTS(b, build_node(b, "Transpose", "s", "u"), "perm", 1, 0, 2);
        set_int(b, build_node(b, "Gather", "u last", "g"), "axis", 1);
        if (others) {
            build_node(b, "Flatten", "u", "flat");
            build_node(b, "Concat", "g flat", "out");
            gives_net(b, "out",
                      "x = input shape=2x4x4\nr = reshape x shape=4x8\n"
                      "y = lstm r hidden=3 bias=false\ng = slice y begin=3 end=4\n"
                      "g_2 = reshape g shape=3\nflat = flatten y\nout = concat g_2 flat\n");
        } else {
            gives_net(b, "g",
                      "x = input shape=2x4x4\nr = reshape x shape=4x8\n"
                      "y = lstm r hidden=3 bias=false output=last\n");
        }
    }
}

/* --- graphs of other makers --- */

static void pytorch_names_become_short(void **state) {
    (void)state;
    Build *b = onnx_build();
    add_floats(b, "w", SHAPE(3, 2, 3, 3), 0);
    build_node(b, "Conv", "x w", "c")->name = (char *)"/features/conv1/Conv";
    build_node(b, "Relu", "c", "r")->name = (char *)"/Relu_1";
    build_node(b, "Sigmoid", "r", "s")->name = (char *)"/features/conv1/Sigmoid";
    build_node(b, "Tanh", "s", "1")->name = (char *)"";
    gives_net(b, "1",
              "x = input shape=2x4x4\n"
              "features.conv1 = conv2d x out=3 kernel=3 bias=false\n"
              "relu_1 = relu features.conv1\n"
              "features.conv1.sigmoid = sigmoid relu_1\n"
              "n1 = tanh features.conv1.sigmoid\n");
}

static void view_of_size_0_is_a_flatten(void **state) {
    (void)state;
    static const int64_t zero[] = {0}, rest[] = {-1}, axes[] = {0};
    Build *b = onnx_build();
    add_longs(b, "zero", 1, zero);
    add_longs(b, "rest", 1, rest);
    add_longs(b, "axes", 1, axes);
    build_node(b, "Shape", "x", "shape");
    build_node(b, "Gather", "shape zero", "batch");
    build_node(b, "Identity", "batch", "batch1");
    build_node(b, "Concat", "batch1 rest", "to");
    build_node(b, "Reshape", "x to", "flat");
    build_node(b, "Dropout", "flat", "same");
    add_floats(b, "w", SHAPE(32, 3), 0);
    add_floats(b, "b", SHAPE(3), 1);
    build_node(b, "MatMul", "same w", "product");
    build_node(b, "Add", "b product", "sum");
    gives_net(b, "sum",
              "x = input shape=2x4x4\nflat = flatten x\nsame = dropout flat\n"
              "product = linear same out=3\n");
}

static void clip_pad_and_means_are_layers(void **state) {
    (void)state;
    Build *b = onnx_build();
    add_float(b, "zero", 0);
    add_float(b, "six", 6);
    build_node(b, "Clip", "x zero six", "clip");
    static const int64_t pads[] = {0, 0, 1, 2, 0, 0, 1, 2};
    add_longs(b, "pads", 8, pads);
    build_node(b, "Pad", "clip pads", "padded");
    add_floats(b, "w", SHAPE(2, 1, 3, 3), 0);
    Onnx__NodeProto *conv = build_node(b, "Conv", "padded w", "conv");
    set_int(b, conv, "group", 2);
    INTS(b, conv, "pads", 1, 0, 1, 0);
    build_node(b, "HardSwish", "conv", "hs");
    Onnx__NodeProto *mean = build_node(b, "ReduceMean", "hs", "mean");
    INTS(b, mean, "axes", -1, 2);
    set_int(b, mean, "keepdims", 0);
    gives_net(b, "mean",
              "x = input shape=2x4x4\n"
              "clip = relu6 x\n"
              "conv = conv2d clip out=2 kernel=3 padding=2 groups=2 bias=false\n"
              "hs = hardswish conv\n"
              "mean = globalavgpool hs\n"
              "mean_2 = flatten mean\n");
}

/* y = (x w / g + s) by PyTorch's QAT is one convolution. */
static void numbers_behind_a_layer_are_folded(void **state) {
    (void)state;
    Build *b = onnx_build();
    add_floats(b, "w", SHAPE(2, 2, 1, 1), 1);
    add_floats(b, "g", SHAPE(1, 2, 1, 1), 4); /* 4, 4.125 */
    add_floats(b, "s", SHAPE(2, 1, 1), -1);   /* -1, -0.875 */
    build_node(b, "Conv", "x w", "conv");
    build_node(b, "Div", "conv g", "div");
    build_node(b, "Add", "div s", "add");
    onnx_output(&b->graph, "add", &SHAPE(1));
    File file = onnx_pack(&b->model, b->graph.arena);
    Model *model = onnx_imported(&file);
    assert_int_equal(model->graph->nodes, 2);
    const float weight[] = {1 / 4.0f, 1.125f / 4, (float)(1.25 / 4.125), (float)(1.375 / 4.125)};
    assert_memory_equal(node_tensor(&model->graph->node[1], "weight")->data, weight, sizeof weight);
    const float bias[] = {-1, -0.875f};
    assert_memory_equal(node_tensor(&model->graph->node[1], "bias")->data, bias, sizeof bias);
    model_free(model);
    arena_free(b->graph.arena);
}

/* An image normalised inside of the graph: (x - mean) / deviation, then 3 less that. */
static void numbers_behind_nothing_are_a_batchnorm(void **state) {
    (void)state;
    Build *b = onnx_build();
    add_floats(b, "mean", SHAPE(2, 1, 1), 1);         /* 1, 1.125 */
    add_floats(b, "deviation", SHAPE(1, 2, 1, 1), 4); /* 4, 4.125 */
    add_float(b, "three", 3);
    build_node(b, "Sub", "x mean", "centred");
    build_node(b, "Div", "centred deviation", "normal");
    build_node(b, "Sub", "three normal", "rest");
    build_node(b, "Relu", "rest", "y");
    onnx_output(&b->graph, "y", &SHAPE(1));
    File file = onnx_pack(&b->model, b->graph.arena);
    Model *model = onnx_imported(&file);
    assert_int_equal(model->graph->nodes, 3);
    const Node *norm = &model->graph->node[1];
    assert_string_equal(norm->layer->name, "batchnorm");
    const float gain[] = {-1 / 4.0f, (float)(-1 / 4.125)};
    const float shift[] = {3 + 1 / 4.0f, (float)(3 + 1.125 / 4.125)};
    assert_memory_equal(node_tensor(norm, "weight")->data, gain, sizeof gain);
    assert_memory_equal(node_tensor(norm, "bias")->data, shift, sizeof shift);
    Tape *tape = tape_new(false);
    Tensor *x = tensor_zeros(tape->arena, SHAPE(1, 2, 4, 4));
    Tensor *y = graph_forward(model->graph, &(Run){.tape = tape}, x, NULL);
    assert_true(y->data[0] == shift[0] && y->data[31] == shift[1]);
    tape_free(tape);
    model_free(model);
    arena_free(b->graph.arena);

    b = onnx_build();
    add_float(b, "three", 3);
    build_node(b, "Div", "three x", "y");
    is_refused(b, "y", "y (Div): it divides by a value");
    b = onnx_build();
    build_node(b, "Div", "x x", "y");
    is_refused(b, "y", "y (Div): it divides by a value");
}

static void all_that_is_not_supported_is_listed(void **state) {
    (void)state;
    Build *b = onnx_build();
    build_node(b, "Erf", "x", "first");
    build_node(b, "Relu", "first", "second"); /* not to blame */
    build_node(b, "Einsum", "second", "third")->domain = (char *)"com.example";
    build_node(b, "Relu", "x", "unused"); /* and this one matters to nobody */
    Onnx__NodeProto *pool = build_node(b, "MaxPool", "x", "fourth");
    INTS(b, pool, "kernel_shape", 2, 2);
    INTS(b, pool, "pads", 0, 0, -1, 1);
    build_node(b, "Add", "third fourth", "sum");
    is_refused(b, "sum",
               "3 nodes cannot be read:\n"
               "  first (Erf): this operator is not supported\n"
               "  third (Einsum): not a standard operator\n"
               "  fourth (MaxPool): pads: expected a whole number");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exported_file_comes_back),
        cmocka_unit_test(every_layer_comes_back),
        cmocka_unit_test(sequences_come_back),
        cmocka_unit_test(steps_may_come_first),
        cmocka_unit_test(a_line_is_an_input),
        cmocka_unit_test(the_last_step_is_an_output),
        cmocka_unit_test(pytorch_names_become_short),
        cmocka_unit_test(view_of_size_0_is_a_flatten),
        cmocka_unit_test(clip_pad_and_means_are_layers),
        cmocka_unit_test(numbers_behind_a_layer_are_folded),
        cmocka_unit_test(numbers_behind_nothing_are_a_batchnorm),
        cmocka_unit_test(all_that_is_not_supported_is_listed),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
