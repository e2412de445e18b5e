/* The operators that are read. To add one: a row, and its function if it is not in the table of
 * ops.c. */
#include <string.h>

#include "quant/onnx/read.h"

static void read_same(OnnxReader *reader, const Onnx__NodeProto *node) {
    onnx_passes(reader, node, 0);
}

static void read_constant(OnnxReader *reader, const Onnx__NodeProto *node) {
    const Onnx__AttributeProto *value = onnx_attribute_find(node, "value");
    OnnxConstant *constant = value && value->t ? onnx_constant(value->t, reader->arena) : NULL;
    if (constant)
        onnx_makes_known(reader, node, constant);
    else
        onnx_fault(reader, node, "only a tensor of numbers can be had");
}

enum { MANY = LAYER_MAX_INPUTS };

static const OnnxReading readings[] = {
    {"Add", 2, 2, onnx_read_pair},
    {"AveragePool", 1, 1, onnx_read_window},
    {"BatchNormalization", 5, 5, onnx_read_batchnorm},
    {"Clip", 1, 3, onnx_read_clip},
    {"Concat", 1, MANY, onnx_read_concat},
    {"Constant", 0, 0, read_constant},
    {"ConstantOfShape", 1, 1, onnx_read_constantofshape},
    {"Conv", 2, 3, onnx_read_weighted},
    {"ConvTranspose", 2, 3, onnx_read_weighted},
    {"DequantizeLinear", 2, 3, onnx_read_dequantize},
    {"Div", 2, 2, onnx_read_pair},
    {"Dropout", 1, 3, onnx_read_dropout},
    {"Elu", 1, 1, onnx_read_layer},
    {"Flatten", 1, 1, onnx_read_flatten},
    {"GRU", 3, 8, onnx_read_recurrent},
    {"Gather", 2, 2, onnx_read_gather},
    {"Gemm", 2, 3, onnx_read_linear},
    {"GlobalAveragePool", 1, 1, onnx_read_layer},
    {"HardSigmoid", 1, 1, onnx_read_hardsigmoid},
    {"HardSwish", 1, 1, onnx_read_layer},
    {"Identity", 1, 1, read_same},
    {"LSTM", 3, 8, onnx_read_recurrent},
    {"LeakyRelu", 1, 1, onnx_read_layer},
    {"MatMul", 2, 2, onnx_read_linear},
    {"MaxPool", 1, 1, onnx_read_window},
    {"Mul", 2, 2, onnx_read_pair},
    {"Pad", 1, 3, onnx_read_pad},
    {"QuantizeLinear", 2, 3, onnx_read_quantize},
    {"ReduceMean", 1, 2, onnx_read_reducemean},
    {"Relu", 1, 1, onnx_read_layer},
    {"Reshape", 1, 2, onnx_read_reshape},
    {"Shape", 1, 1, onnx_read_shape},
    {"Sigmoid", 1, 1, onnx_read_layer},
    {"Slice", 1, 5, onnx_read_slice},
    {"Softmax", 1, 1, onnx_read_softmax},
    {"Squeeze", 1, 2, onnx_read_squeeze},
    {"Sub", 2, 2, onnx_read_pair},
    {"Tanh", 1, 1, onnx_read_layer},
    {"Transpose", 1, 1, onnx_read_transpose},
    {"Unsqueeze", 1, 2, onnx_read_squeeze},
};

const OnnxReading *onnx_reading(const char *op_type) {
    for (size_t i = 0; i < sizeof readings / sizeof *readings; i++)
        if (strcmp(readings[i].op_type, op_type) == 0) return &readings[i];
    return NULL;
}
