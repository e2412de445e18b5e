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

/* EACH: of each number by itself, whatever the dimensions are. */
#define EACH(...)                                                                                  \
    { __VA_ARGS__, true }
#define ROW(...)                                                                                   \
    { __VA_ARGS__, false }

static const OnnxReading readings[] = {
    EACH("Add", 2, 2, onnx_read_pair),
    ROW("AveragePool", 1, 1, onnx_read_window),
    ROW("BatchNormalization", 5, 5, onnx_read_batchnorm),
    EACH("Clip", 1, 3, onnx_read_clip),
    ROW("Concat", 1, MANY, onnx_read_concat),
    ROW("Constant", 0, 0, read_constant),
    ROW("ConstantOfShape", 1, 1, onnx_read_constantofshape),
    ROW("Conv", 2, 3, onnx_read_weighted),
    ROW("ConvTranspose", 2, 3, onnx_read_weighted),
    ROW("DequantizeLinear", 2, 3, onnx_read_dequantize),
    EACH("Div", 2, 2, onnx_read_pair),
    EACH("Dropout", 1, 3, onnx_read_dropout),
    EACH("Elu", 1, 1, onnx_read_layer),
    ROW("Flatten", 1, 1, onnx_read_flatten),
    ROW("GRU", 3, 8, onnx_read_recurrent),
    ROW("Gather", 2, 2, onnx_read_gather),
    ROW("Gemm", 2, 3, onnx_read_linear),
    ROW("GlobalAveragePool", 1, 1, onnx_read_layer),
    EACH("HardSigmoid", 1, 1, onnx_read_hardsigmoid),
    EACH("HardSwish", 1, 1, onnx_read_layer),
    EACH("Identity", 1, 1, read_same),
    ROW("LSTM", 3, 8, onnx_read_recurrent),
    EACH("LeakyRelu", 1, 1, onnx_read_layer),
    ROW("MatMul", 2, 2, onnx_read_linear),
    ROW("MaxPool", 1, 1, onnx_read_window),
    EACH("Mul", 2, 2, onnx_read_pair),
    ROW("Pad", 1, 3, onnx_read_pad),
    ROW("QuantizeLinear", 2, 3, onnx_read_quantize),
    ROW("ReduceMean", 1, 2, onnx_read_reducemean),
    EACH("Relu", 1, 1, onnx_read_layer),
    ROW("Reshape", 1, 2, onnx_read_reshape),
    ROW("Shape", 1, 1, onnx_read_shape),
    EACH("Sigmoid", 1, 1, onnx_read_layer),
    ROW("Slice", 1, 5, onnx_read_slice),
    ROW("Softmax", 1, 1, onnx_read_softmax),
    ROW("Squeeze", 1, 2, onnx_read_squeeze),
    EACH("Sub", 2, 2, onnx_read_pair),
    EACH("Tanh", 1, 1, onnx_read_layer),
    ROW("Transpose", 1, 1, onnx_read_transpose),
    ROW("Unsqueeze", 1, 2, onnx_read_squeeze),
};

const OnnxReading *onnx_reading(const char *op_type) {
    for (size_t i = 0; i < sizeof readings / sizeof *readings; i++)
        if (strcmp(readings[i].op_type, op_type) == 0) return &readings[i];
    return NULL;
}
