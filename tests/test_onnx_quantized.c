/* stair export onnx, quantized nets: the QDQ graph and the integers in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "quant/onnx/write.h"
#include "quant/rules/integers.h"
#include "tests/onnx_text.h"
#include "tests/quantized.h"
#include "tests/scratch.h"
#include "tests/small_model.h"

#define TYPE(name) ONNX__TENSOR_PROTO__DATA_TYPE__##name

static Onnx__GraphProto *graph_of(Model *model, Arena *arena) {
    Error error = {0};
    Onnx__ModelProto *proto = onnx_model(model, "1", arena, &error);
    if (!proto) fail_msg("%s", error.message);
    return proto->graph;
}

/* A calibrated model. */
static Model *calibrated(const char *text, const QuantConfig *config) {
    Error error = {0};
    QuantConfig standard = quant_config_default();
    Model *model = model_new(quantized_graph(text), &error);
    if (!model || !model_quantize(model, config ? config : &standard, &error))
        fail_msg("%s", error.message);
    quantized_calibrate(model->quant);
    return model;
}

static QuantConfig config_of(const char *json) {
    Error error = {0};
    QuantConfig config;
    json_t *object = json_loads(json, 0, NULL);
    assert_non_null(object);
    if (!quant_config_from_json(object, &config, &error)) fail_msg("%s", error.message);
    json_decref(object);
    return config;
}

/* --- the graph --- */

/* The lines of a value's rounding, of a dequantized weight and bias, and the names behind them. */
#define DQ(value)                   value "_DequantizeLinear_Output"
#define GRID(grid)                  ", " grid "_scale, " grid "_zero_point)\n"
#define QUANTIZE(value, real, grid) value "_QuantizeLinear_Output = QuantizeLinear(" real GRID(grid)
#define ROUND(value, grid)                                                                         \
    QUANTIZE(value, value, grid)                                                                   \
    DQ(value) " = DequantizeLinear(" value "_QuantizeLinear_Output" GRID(grid)
#define LINEAR(axis) " = DequantizeLinear" axis "("
#define WEIGHT(node, axis)                                                                         \
    DQ(node ".weight") LINEAR(axis) node ".weight_quantized" GRID(node ".weight")
#define BIAS(node, axis)                                                                           \
    DQ(node ".bias") LINEAR(axis) node ".bias_quantized" GRID(node ".bias_quantized")
#define RESULT(value)                                                                              \
    QUANTIZE(value, value "_QuantizeLinear_Input", value)                                          \
    value " = DequantizeLinear(" value "_QuantizeLinear_Output" GRID(value)
#define CONV(padding) "Conv[dilations=1,1 group=1 kernel_shape=3,3 pads=" padding " strides=1,1]"

static void assert_nodes(Model *model, const char *text) {
    Arena *arena = arena_new();
    assert_string_equal(onnx_text(graph_of(model, arena), arena), text);
    arena_free(arena);
}

/* A chain with its batchnorm and relu, a layer without a bias, a sum, a mean, a value that shares
 * its grid, the result. */
static void test_graph(void **state) {
    (void)state;
    Model *model = small_model(STAGE_CALIBRATED, NULL);
    assert_nodes(
        model, ROUND("x", "x") WEIGHT("conv1", "[axis=0]")
                   BIAS("conv1", "[axis=0]") "conv1 = " CONV("0,0,0,0") "(" DQ(
                       "x") ", " DQ("conv1.weight") ", " DQ("conv1.bias") ")\n"
                                                                          "relu1 = "
                                                                          "Relu(conv1)\n" ROUND(
                                                                              "relu1", "relu1") WEIGHT("conv2",
                                                                                                       "[axis=0]") "conv2 = " CONV("1,1,1,1") "(" DQ("re"
                                                                                                                                                     "lu"
                                                                                                                                                     "1") ", " DQ("conv2.weight") ")\n" ROUND("conv2", "conv2") "add1 = Add(" DQ("conv2") ", " DQ("relu1") ")\n" ROUND("add1",
                                                                                                                                                                                                                                                                       "add1") "pool1 = AveragePool[count_include_pad=1 "
                                                                                                                                                                                                                                                                               "kernel_shape=2,2 pads=0,0,0,0 "
                                                                                                                                                                                                                                                                               "strides=2,2](" DQ("add1") ")\n" ROUND(
                                                                                                                                                                                                                                                                                   "pool"
                                                                                                                                                                                                                                                                                   "1",
                                                                                                                                                                                                                                                                                   "pool"
                                                                                                                                                                                                                                                                                   "1") "flat = Flatten(" DQ("pool1") ")\n" ROUND("flat",
                                                                                                                                                                                                                                                                                                                                  "pool1")
                                                                                                                                                                                                                                                                                   WEIGHT("fc", "[axis=0]") BIAS(
                                                                                                                                                                                                                                                                                       "fc", "[axis=0]") "fc_"
                                                                                                                                                                                                                                                                                                         "QuantizeLinea"
                                                                                                                                                                                                                                                                                                         "r_Input = "
                                                                                                                                                                                                                                                                                                         "Gemm[transB="
                                                                                                                                                                                                                                                                                                         "1](" DQ("fla"
                                                                                                                                                                                                                                                                                                                  "t") ", " DQ("fc.weight") ", " DQ("fc.bias") ")\n" RESULT("fc"));
    model_free(model);
}

/* Per tensor there is no axis; fewer than 8 bits are clipped between the two nodes. */
static void test_few_bits_per_tensor(void **state) {
    (void)state;
    QuantConfig config = config_of("{\"activation\": {\"bits\": 4}, \"edge_bits\": 8, \"weight\": "
                                   "{\"bits\": 4, \"per_channel\": false}}");
    Arena *arena = arena_new();
    Model *model = calibrated("x = input shape=1x4x4\nf = flatten x\na = linear f out=3\n"
                              "r = relu a\ny = linear r out=2\n",
                              &config);
    assert_nodes(
        model,
        ROUND("x", "x") "f = Flatten(" DQ("x") ")\n" ROUND("f", "x") WEIGHT("a", "")
            BIAS("a", "") "a = Gemm[transB=1](" DQ("f") ", " DQ("a.weight") ", " DQ(
                "a.bias") ")\n"
                          "r = Relu(a)\n" QUANTIZE(
                              "r", "r",
                              "r") "r_Clip_Output = Clip(r_QuantizeLinear_Output, r_qmin, "
                                   "r_qmax)\n" DQ("r") " = DequantizeLinear(r_Clip_Output" GRID("r")
                                       WEIGHT("y", "") BIAS(
                                           "y",
                                           "") "y_QuantizeLinear_Input = "
                                               "Gemm[transB=1](" DQ("r") ", " DQ(
                                                   "y."
                                                   "weight") ", " DQ("y.bias") ")\n" RESULT("y"));
    const Onnx__GraphProto *graph = graph_of(model, arena);
    assert_onnx_tensor(graph, "r_qmin", TYPE(UINT8), "scalar", (uint8_t[]){0}, 1);
    assert_onnx_tensor(graph, "r_qmax", TYPE(UINT8), "scalar", (uint8_t[]){15}, 1);
    const WeightedIntegers *w = quantized_node(model->quant, "a")->integers;
    assert_onnx_tensor(graph, "a.weight_scale", TYPE(FLOAT), "scalar", w->grid.scale, 4);
    model_free(model);
    arena_free(arena);
}

/* Signed symmetric codes lack the lowest that their type has. */
static void test_signed_values(void **state) {
    (void)state;
    QuantConfig config = config_of("{\"activation\": {\"signed\": true, \"symmetric\": true}}");
    Arena *arena = arena_new();
    Model *model = calibrated("x = input shape=1x4x4\ny = relu x\n", &config);
    const Onnx__GraphProto *graph = graph_of(model, arena);
    assert_onnx_tensor(graph, "y_qmin", TYPE(INT8), "scalar", (int8_t[]){-127}, 1);
    assert_onnx_tensor(graph, "y_qmax", TYPE(INT8), "scalar", (int8_t[]){127}, 1);
    assert_onnx_tensor(graph, "y_zero_point", TYPE(INT8), "scalar", (int8_t[]){0}, 1);
    model_free(model);
    arena_free(arena);
}

/* A dropout has no node, at the end neither; a lone batchnorm has what it folded into. */
static void test_nodes_that_pass_on(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Model *model = calibrated("x = input shape=2x4x4\nd = dropout x\ny = batchnorm d\nr = relu y\n"
                              "e = dropout r\n",
                              NULL);
    assert_nodes(
        model,
        ROUND("x", "x") WEIGHT("y", "[axis=0]")
            BIAS("y", "[axis=0]") "y = BatchNormalization[epsilon=0 momentum=0.899999976](" DQ(
                "x") ", " DQ("y.weight") ", " DQ("y.bias") ", y.running_mean, y.running_var)\n"
                                                           "r_QuantizeLinear_Input = "
                                                           "Relu(y)\n" RESULT("r"));
    const Onnx__GraphProto *graph = graph_of(model, arena);
    assert_onnx_tensor(graph, "y.running_mean", TYPE(FLOAT), "2", (float[]){0, 0}, 8);
    assert_onnx_tensor(graph, "y.running_var", TYPE(FLOAT), "2", (float[]){1, 1}, 8);
    assert_string_equal(graph->output[0]->name, "r");
    model_free(model);
    arena_free(arena);
}

/* --- the integers --- */

static void assert_integers(const Onnx__GraphProto *graph, const QNode *q, Arena *arena) {
    const WeightedIntegers *w = q->integers;
    const char *name = q->node->name;
    char dims[SHAPE_TEXT];
    size_t outputs = (size_t)w->outputs;
    int8_t *zeros = arena_zeros(arena, outputs);
    int32_t *wide_zeros = arena_zeros(arena, outputs * 4);
    float *step = arena_alloc(arena, outputs * 4);
    for (size_t o = 0; o < outputs; o++) step[o] = q->in[0]->q.scale[0] * w->grid.scale[o];
    assert_onnx_tensor(graph, arena_text(arena, "%s.weight_quantized", name), TYPE(INT8),
                       shape_text(&node_tensor(q->node, "weight")->shape, dims), w->stored,
                       outputs * (size_t)w->depth);
    shape_text(&SHAPE(w->outputs), dims);
    assert_onnx_tensor(graph, arena_text(arena, "%s.weight_scale", name), TYPE(FLOAT), dims,
                       w->grid.scale, outputs * 4);
    assert_onnx_tensor(graph, arena_text(arena, "%s.weight_zero_point", name), TYPE(INT8), dims,
                       zeros, outputs);
    if (!node_tensor(q->node, "bias") && !q->batchnorm) return;
    assert_onnx_tensor(graph, arena_text(arena, "%s.bias_quantized", name), TYPE(INT32), dims,
                       w->bias, outputs * 4);
    assert_onnx_tensor(graph, arena_text(arena, "%s.bias_quantized_scale", name), TYPE(FLOAT), dims,
                       step, outputs * 4);
    assert_onnx_tensor(graph, arena_text(arena, "%s.bias_quantized_zero_point", name), TYPE(INT32),
                       dims, wide_zeros, outputs * 4);
}

static void test_integers(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Model *model = small_model(STAGE_FROZEN, NULL);
    const Onnx__GraphProto *graph = graph_of(model, arena);
    assert_integers(graph, quantized_node(model->quant, "conv1"), arena);
    assert_integers(graph, quantized_node(model->quant, "conv2"), arena);
    assert_integers(graph, quantized_node(model->quant, "fc"), arena);
    const Quantizer *relu1 = quantized_node(model->quant, "conv1")->out;
    assert_onnx_tensor(graph, "relu1_scale", TYPE(FLOAT), "scalar", relu1->q.scale, 4);
    assert_onnx_tensor(graph, "relu1_zero_point", TYPE(UINT8), "scalar",
                       (uint8_t[]){(uint8_t)relu1->q.zero_point[0]}, 1);
    model_free(model);
    arena_free(arena);
}

/* Freezing changes the stage, not the integers: the file is the same, before, after, and reloaded.
 */
static void test_stages_agree(void **state) {
    (void)state;
    for (Stage stage = STAGE_CALIBRATED; stage <= STAGE_QAT; stage++) {
        Arena *arena = arena_new();
        Error error = {0};
        Model *model = small_model(stage, NULL);
        uint8_t *bytes[3];
        size_t size[3];
        for (int i = 0; i < 3; i++) {
            Onnx__ModelProto *proto = onnx_model(model, "1", arena, &error);
            assert_non_null(proto);
            size[i] = onnx__model_proto__get_packed_size(proto);
            bytes[i] = arena_alloc(arena, size[i]);
            onnx__model_proto__pack(proto, bytes[i]);
            if (i == 0) assert_true(model_freeze(model, &error));
            if (i != 1) continue;
            small_save(model, scratch_path("frozen"));
            model_free(model);
            model = small_load(scratch_path("frozen"));
        }
        for (int i = 1; i < 3; i++) {
            assert_int_equal(size[i], size[0]);
            assert_memory_equal(bytes[i], bytes[0], size[0]);
        }
        model_free(model);
        arena_free(arena);
    }
}

static void test_zero_points_of_weights(void **state) {
    (void)state;
    QuantConfig config = config_of("{\"weight\": {\"symmetric\": false}}");
    Arena *arena = arena_new();
    Model *model = calibrated("x = input shape=1x4x4\ny = conv2d x out=3 kernel=3\n", &config);
    const Onnx__GraphProto *graph = graph_of(model, arena);
    const WeightedIntegers *w = quantized_node(model->quant, "y")->integers;
    int8_t zero[3];
    for (int o = 0; o < 3; o++) zero[o] = (int8_t)w->grid.zero_point[o];
    assert_true(zero[0] || zero[1] || zero[2]);
    assert_onnx_tensor(graph, "y.weight_zero_point", TYPE(INT8), "3", zero, 3);
    model_free(model);
    arena_free(arena);
}

/* --- transposed weights: [in, out / groups, kernel] --- */

static int64_t axis_of(const Onnx__GraphProto *graph, const char *output) {
    const Onnx__NodeProto *node = onnx_find_node(graph, output);
    assert_int_equal(node->n_attribute, 1);
    return node->attribute[0]->i;
}

static void test_transposed_axis(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Model *model = calibrated("x = input shape=1x4x4\n"
                              "a = conv_transpose2d x out=3 kernel=2\n"
                              "b = conv2d a out=4 kernel=1\n"
                              "y = conv_transpose2d b out=2 kernel=2 groups=2\n",
                              NULL);
    const Onnx__GraphProto *graph = graph_of(model, arena);
    const WeightedIntegers *a = quantized_node(model->quant, "a")->integers;
    assert_int_equal(axis_of(graph, DQ("a.weight")), 1);
    assert_onnx_tensor(graph, "a.weight_scale", TYPE(FLOAT), "3", a->grid.scale, 12);
    const float *s =
        ((const WeightedIntegers *)quantized_node(model->quant, "y")->integers)->grid.scale;
    assert_int_equal(axis_of(graph, DQ("y.weight")), 0);
    assert_onnx_tensor(graph, "y.weight_scale", TYPE(FLOAT), "4", (float[]){s[0], s[0], s[1], s[1]},
                       16);
    model_free(model);
    arena_free(arena);
}

/* --- mixed nets --- */

/* A float layer: its folded weights, no rounding, unless a quantized layer reads the value. */
static void test_float_layers(void **state) {
    (void)state;
    QuantConfig config = config_of("{\"overrides\": {\"c\": null, \"y\": null}}");
    Model *model = calibrated("x = input shape=1x4x4\nc = conv2d x out=2 kernel=3\n"
                              "b = batchnorm c\nr = relu b\nf = flatten r\n"
                              "a = linear f out=3\ny = linear a out=2\n",
                              &config);
    assert_nodes(
        model,
        ROUND("x", "x") "c = " CONV("0,0,0,0") "(" DQ(
            "x") ", c.weight, c.bias)\n"
                 "r = Relu(c)\n" ROUND("r", "r") "f = Flatten(" DQ("r") ")\n" ROUND("f", "r")
                     WEIGHT("a", "[axis=0]")
                         BIAS("a", "[axis=0]") "a = Gemm[transB=1](" DQ("f") ", " DQ(
                             "a.weight") ", " DQ("a.bias") ")\n" ROUND("a", "a") "y = "
                                                                                 "Gemm[transB=1]"
                                                                                 "(" DQ("a") ", "
                                                                                             "y."
                                                                                             "weigh"
                                                                                             "t, "
                                                                                             "y."
                                                                                             "bias)"
                                                                                             "\n");
    model_free(model);
}

/* --- refusals --- */

static void assert_refused(const char *text, const char *config, const char *fragment) {
    Arena *arena = arena_new();
    Error error = {0};
    QuantConfig words = config_of(config);
    Model *model = calibrated(text, &words);
    assert_null(onnx_model(model, "1", arena, &error));
    assert_error(&error, ERROR_INPUT, fragment);
    model_free(model);
    arena_free(arena);
}

static void test_refusals(void **state) {
    (void)state;
    assert_refused("x = input shape=1x4x4\nc = conv2d x out=4 kernel=1\n"
                   "y = conv_transpose2d c out=4 kernel=2 groups=2\n",
                   "{}", "y: a transposed convolution with groups");
    assert_refused("x = input shape=2x4x4\ny = conv_transpose2d x out=4 kernel=2 groups=2\n", "{}",
                   "y: a transposed convolution with groups");
    assert_refused("x = input shape=1x4x4\nr = relu x\ny = relu6 r\n",
                   "{\"overrides\": {\"r\": {\"activation\": {\"bits\": 12}}}}",
                   "r: more than 8 bits");
    assert_refused("x = input shape=1x4x4\ny = conv2d x out=4 kernel=1\n",
                   "{\"weight\": {\"bits\": 9}}", "y: more than 8 bits");
    assert_refused("x = input shape=1x4x4\nx_scale = relu x\n", "{}", "'x_scale': rename");
}

static void test_no_ranges(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Error error = {0};
    QuantConfig config = quant_config_default();
    Model *model = model_new(quantized_graph("x = input shape=1x4x4\ny = relu x\n"), &error);
    assert_true(model_quantize(model, &config, &error));
    assert_null(onnx_model(model, "1", arena, &error));
    assert_error(&error, ERROR_INPUT, "x: its range is not known: calibrate first");
    model_free(model);
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_graph),
        cmocka_unit_test(test_few_bits_per_tensor),
        cmocka_unit_test(test_signed_values),
        cmocka_unit_test(test_nodes_that_pass_on),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_stages_agree),
        cmocka_unit_test(test_zero_points_of_weights),
        cmocka_unit_test(test_transposed_axis),
        cmocka_unit_test(test_float_layers),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_ranges),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
