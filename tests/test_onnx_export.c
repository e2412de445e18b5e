/* stair export onnx, the float graph: every layer's operator, parameters, names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quant/onnx/write.h"
#include "tests/onnx_text.h"
#include "tests/scratch.h"
#include "tests/small_model.h"

static Onnx__ModelProto *proto_of(Model *model, Arena *arena) {
    Error error = {0};
    Onnx__ModelProto *proto = onnx_model(model, "1.2.3", arena, &error);
    if (!proto) fail_msg("%s", error.message);
    return proto;
}

/* --- every layer --- */

typedef struct Row {
    const char *layer, *net, *nodes;
} Row;

#define IMAGE "x = input shape=2x8x6\n"
#define LINE  "x = input shape=2x8\n"
#define CUBE  "x = input shape=2x4x8x6\n"

static const Row rows[] = {
    {"conv1d", LINE "y = conv1d x out=4 kernel=3 stride=2 padding=1 dilation=2\n",
     "y = Conv[dilations=2 group=1 kernel_shape=3 pads=1,1 strides=2](x, y.weight, y.bias)\n"},
    {"conv2d", IMAGE "y = conv2d x out=4 kernel=3x5 stride=2x1 padding=1x2 groups=2 bias=false\n",
     "y = Conv[dilations=1,1 group=2 kernel_shape=3,5 pads=1,2,1,2 strides=2,1](x, y.weight)\n"},
    {"conv3d", CUBE "y = conv3d x out=4 kernel=1x2x3\n",
     "y = Conv[dilations=1,1,1 group=1 kernel_shape=1,2,3 pads=0,0,0,0,0,0 strides=1,1,1](x, "
     "y.weight, y.bias)\n"},
    {"conv_transpose1d", LINE "y = conv_transpose1d x out=4 kernel=3 stride=2 output_padding=1\n",
     "y = ConvTranspose[dilations=1 group=1 kernel_shape=3 output_padding=1 pads=0,0 strides=2](x, "
     "y.weight, y.bias)\n"},
    {"conv_transpose2d",
     IMAGE "y = conv_transpose2d x out=2 kernel=2x3 padding=0x1 groups=2 bias=false\n",
     "y = ConvTranspose[dilations=1,1 group=2 kernel_shape=2,3 output_padding=0,0 pads=0,1,0,1 "
     "strides=1,1](x, y.weight)\n"},
    {"conv_transpose3d", CUBE "y = conv_transpose3d x out=2 kernel=1x2x3\n",
     "y = ConvTranspose[dilations=1,1,1 group=1 kernel_shape=1,2,3 output_padding=0,0,0 "
     "pads=0,0,0,0,0,0 strides=1,1,1](x, y.weight, y.bias)\n"},
    {"flatten", IMAGE "y = flatten x\n", "y = Flatten(x)\n"},
    {"linear", IMAGE "f = flatten x\ny = linear f out=3\n",
     "f = Flatten(x)\ny = Gemm[transB=1](f, y.weight, y.bias)\n"},
    {"lstm", LINE "y = lstm x hidden=3 bidirectional=true\n",
     "y_steps_first = Transpose[perm=1,0,2](x)\n"
     "y_l0_Y, y_l0_Y_h = LSTM[direction=bidirectional hidden_size=3](y_steps_first, y.W_l0, "
     "y.R_l0, "
     "y.B_l0)\n"
     "y_l0_turned = Transpose[perm=2,0,1,3](y_l0_Y)\n"
     "y = Reshape(y_l0_turned, y_shape)\n"},
    {"gru", LINE "y = gru x hidden=3 layers=2 bias=false output=last\n",
     "y_steps_first = Transpose[perm=1,0,2](x)\n"
     "y_l0_Y, y_l0_Y_h = GRU[direction=forward hidden_size=3 linear_before_reset=1](y_steps_first, "
     "y.W_l0, y.R_l0)\n"
     "y_l0_turned = Transpose[perm=0,2,1,3](y_l0_Y)\n"
     "y_l0_joined = Reshape(y_l0_turned, y_l0_joined_shape)\n"
     "y_l1_Y, y_l1_Y_h = GRU[direction=forward hidden_size=3 linear_before_reset=1](y_l0_joined, "
     "y.W_l1, y.R_l1)\n"
     "y_l1_turned = Transpose[perm=1,0,2](y_l1_Y_h)\n"
     "y = Reshape(y_l1_turned, y_shape)\n"},
    {"gru", LINE "y = gru x hidden=3 bias=false reset=before\n",
     "y_steps_first = Transpose[perm=1,0,2](x)\n"
     "y_l0_Y, y_l0_Y_h = GRU[direction=forward hidden_size=3 linear_before_reset=0](y_steps_first, "
     "y.W_l0, y.R_l0)\n"
     "y_l0_turned = Transpose[perm=2,0,1,3](y_l0_Y)\n"
     "y = Reshape(y_l0_turned, y_shape)\n"},
    {"batchnorm", IMAGE "y = batchnorm x eps=0.25 momentum=0.25\n",
     "y = BatchNormalization[epsilon=0.25 momentum=0.75](x, y.weight, y.bias, y.running_mean, "
     "y.running_var)\n"},
    {"relu", IMAGE "y = relu x\n", "y = Relu(x)\n"},
    {"hardtanh", IMAGE "y = hardtanh x min_val=-2\n", "y = Clip(x, y_min, y_max)\n"},
    {"relu6", IMAGE "y = relu6 x\n", "y = Clip(x, y_min, y_max)\n"},
    {"leaky_relu", IMAGE "y = leaky_relu x slope=0.25\n", "y = LeakyRelu[alpha=0.25](x)\n"},
    {"elu", IMAGE "y = elu x alpha=0.5\n", "y = Elu[alpha=0.5](x)\n"},
    {"hardswish", IMAGE "y = hardswish x\n",
     "y_gate = HardSigmoid[alpha=0.166666672](x)\ny = Mul(x, y_gate)\n"},
    {"sigmoid", IMAGE "y = sigmoid x\n", "y = Sigmoid(x)\n"},
    {"tanh", IMAGE "y = tanh x\n", "y = Tanh(x)\n"},
    {"softmax", IMAGE "y = softmax x\n", "y = Softmax[axis=1](x)\n"},
    {"maxpool", IMAGE "y = maxpool x kernel=3 stride=2 padding=1 dilation=2\n",
     "y = MaxPool[dilations=2,2 kernel_shape=3,3 pads=1,1,1,1 strides=2,2](x)\n"},
    {"avgpool", LINE "y = avgpool x kernel=3 stride=1 padding=1:0 count_include_pad=false\n",
     "y = AveragePool[count_include_pad=0 kernel_shape=3 pads=1,0 strides=1](x)\n"},
    {"avgpool", LINE "y = avgpool x kernel=4 padding=2\n",
     "y = AveragePool[count_include_pad=1 kernel_shape=4 pads=2,2 strides=4](x)\n"},
    {"globalavgpool", IMAGE "y = globalavgpool x\n", "y = GlobalAveragePool(x)\n"},
    {"adaptiveavgpool", IMAGE "y = adaptiveavgpool x out=4x2\n",
     "y = AveragePool[count_include_pad=1 kernel_shape=2,3 pads=0,0,0,0 strides=2,3](x)\n"},
    {"add", IMAGE "r = relu x\ny = add x r\n", "r = Relu(x)\ny = Add(x, r)\n"},
    {"mul", IMAGE "r = relu x\ny = mul x r\n", "r = Relu(x)\ny = Mul(x, r)\n"},
    {"concat", IMAGE "r = relu x\ny = concat x r x\n",
     "r = Relu(x)\ny = Concat[axis=1](x, r, x)\n"},
    {"reshape", IMAGE "y = reshape x shape=4x24\n", "y = Reshape(x, y_shape)\n"},
    {"transpose", IMAGE "y = transpose x order=2x3x1\n", "y = Transpose[perm=0,2,3,1](x)\n"},
    {"slice", IMAGE "y = slice x axis=2 begin=1 end=6 step=2\n",
     "y = Slice(x, y_starts, y_ends, y_axes, y_steps)\n"},
    {"dropout", IMAGE "d = dropout x\nr = relu d\ny = dropout r\n", "r = Relu(x)\n"},
    {"input", IMAGE "y = dropout x\n", "y = Identity(x)\n"},
    {0},
};

static void test_layers(void **state) {
    (void)state;
    for (const Row *row = rows; row->layer; row++) {
        Arena *arena = arena_new();
        Model *model = text_model(row->net);
        Onnx__ModelProto *proto = proto_of(model, arena);
        assert_string_equal(onnx_text(proto->graph, arena), row->nodes);
        const Onnx__GraphProto *g = proto->graph;
        assert_string_equal(g->output[0]->name, g->node[g->n_node - 1]->output[0]);
        model_free(model);
        arena_free(arena);
    }
}

/* A layer without a row of the table, or without a line above, is a layer that nobody exports. */
static void test_every_layer_has_a_row(void **state) {
    (void)state;
    for (int i = 0; layer_list[i]; i++) {
        const char *name = layer_list[i]->name;
        bool known = false, tested = false;
        for (const OnnxOp *op = onnx_ops; op->layer; op++) known |= strcmp(op->layer, name) == 0;
        for (const Row *row = rows; row->layer; row++) tested |= strcmp(row->layer, name) == 0;
        if (!known || !tested) fail_msg("%s has no ONNX operator, or no test of it", name);
    }
}

/* --- tensors --- */

static void test_parameters_are_initializers(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Model *model = small_model(STAGE_FLOAT, NULL);
    Onnx__ModelProto *proto = proto_of(model, arena);
    int tensors = 0;
    for (int i = 0; i < model->graph->nodes; i++)
        for (int p = 0; p < model->graph->node[i].params; p++) {
            const Node *node = &model->graph->node[i];
            const Tensor *tensor = node->param[p].tensor;
            char dims[SHAPE_TEXT];
            if (node->param[p].counter) continue; /* num_batches_tracked is training's alone */
            assert_onnx_tensor(proto->graph,
                               arena_text(arena, "%s.%s", node->name, node->param[p].name),
                               ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT,
                               shape_text(&tensor->shape, dims), tensor->data, tensor->count * 4);
            tensors++;
        }
    assert_int_equal(proto->graph->n_initializer, tensors);
    model_free(model);
    arena_free(arena);
}

/* Gates in ONNX's order, PyTorch's two biases one behind the other. */
static void test_gates(void **state) {
    (void)state;
    static const struct {
        const char *net;
        int gates, order[4];
    } kinds[] = {{LINE "y = lstm x hidden=1\n", 4, {0, 3, 1, 2}},
                 {LINE "y = gru x hidden=1\n", 3, {1, 0, 2}}};
    for (int k = 0; k < 2; k++) {
        Arena *arena = arena_new();
        Model *model = text_model(kinds[k].net);
        int gates = kinds[k].gates;
        float w[4 * 8], b[8];
        for (int g = 0; g < gates; g++) {
            const Node *node = &model->graph->node[1];
            int from = kinds[k].order[g];
            memcpy(w + g * 8, node_tensor(node, "weight_ih_l0")->data + from * 8, 32);
            b[g] = node_tensor(node, "bias_ih_l0")->data[from];
            b[gates + g] = node_tensor(node, "bias_hh_l0")->data[from];
        }
        const Onnx__GraphProto *graph = proto_of(model, arena)->graph;
        assert_onnx_tensor(graph, "y.W_l0", ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT,
                           k ? "1x3x8" : "1x4x8", w, (size_t)gates * 32);
        assert_onnx_tensor(graph, "y.B_l0", ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, k ? "1x6" : "1x8",
                           b, (size_t)gates * 8);
        model_free(model);
        arena_free(arena);
    }
}

static void test_constants(void **state) {
    (void)state;
    const struct {
        const char *net, *name, *dims;
        Onnx__TensorProto__DataType type;
        const void *data;
        size_t bytes;
    } constant[] = {
        {IMAGE "y = hardtanh x min_val=-2\n", "y_min", "scalar",
         ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, (float[]){-2}, 4},
        {IMAGE "y = relu6 x\n", "y_min", "scalar", ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT,
         (float[]){0}, 4},
        {IMAGE "y = relu6 x\n", "y_max", "scalar", ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT,
         (float[]){6}, 4},
        {IMAGE "y = reshape x shape=4x24\n", "y_shape", "3", ONNX__TENSOR_PROTO__DATA_TYPE__INT64,
         (int64_t[]){0, 4, 24}, 24},
    };
    for (size_t i = 0; i < sizeof constant / sizeof *constant; i++) {
        Arena *arena = arena_new();
        Model *model = text_model(constant[i].net);
        assert_onnx_tensor(proto_of(model, arena)->graph, constant[i].name, constant[i].type,
                           constant[i].dims, constant[i].data, constant[i].bytes);
        model_free(model);
        arena_free(arena);
    }
}

/* --- the model around the graph --- */

static void assert_value(const Onnx__ValueInfoProto *value, const char *name, int rank,
                         const int64_t dims[]) {
    const Onnx__TypeProto__Tensor *type = value->type->tensor_type;
    assert_string_equal(value->name, name);
    assert_int_equal(type->elem_type, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT);
    assert_int_equal(type->shape->n_dim, 1 + rank);
    assert_string_equal(type->shape->dim[0]->dim_param, "N");
    for (int i = 0; i < rank; i++) assert_int_equal(type->shape->dim[1 + i]->dim_value, dims[i]);
}

static void test_model(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Model *model = small_model(STAGE_FLOAT, NULL);
    Onnx__ModelProto *proto = proto_of(model, arena);
    assert_int_equal(proto->ir_version, 7);
    assert_string_equal(proto->producer_name, "stair");
    assert_string_equal(proto->producer_version, "1.2.3");
    assert_int_equal(proto->n_opset_import, 1);
    assert_int_equal(proto->opset_import[0]->version, 13);
    assert_string_equal(proto->opset_import[0]->domain, "");
    assert_string_equal(proto->graph->name, model->graph->name);
    assert_int_equal(proto->graph->n_input, 1);
    assert_int_equal(proto->graph->n_output, 1);
    assert_value(proto->graph->input[0], "x", 3, (int64_t[]){2, 6, 6});
    assert_value(proto->graph->output[0], "fc", 1, (int64_t[]){3});

    /* the input's normalisation comes back to the bit */
    assert_int_equal(proto->n_metadata_props, 1);
    assert_string_equal(proto->metadata_props[0]->key, "stair.input");
    Model *other = text_model(small_net);
    Error error = {0};
    assert_true(model_input_parse(other, proto->metadata_props[0]->value, "file", &error));
    assert_memory_equal(&other->pixels, &model->pixels, sizeof model->pixels);
    assert_false(model_input_parse(other, "{\"mean\":[0]}", "file", &error));
    assert_error(&error, ERROR_INPUT, "file: stair.input: expected mean and std");
    model_free(other);
    model_free(model);
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_every_layer_has_a_row),
        cmocka_unit_test(test_parameters_are_initializers),
        cmocka_unit_test(test_gates),
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_model),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
