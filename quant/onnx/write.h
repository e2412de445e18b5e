/* A net as an ONNX graph: nodes in the net's order, called as there, one input and one output.
 * Values are float32, [N, shape of a sample]; N is any number of samples.
 *
 *   float      the layers as they stand, their parameters as initializers NODE.weight, ...
 *   quantized  what the integer program computes, said with QuantizeLinear and DequantizeLinear
 * (QDQ): every value is rounded to its grid, weights and biases are the program's integers
 *
 * Dropout is left out, and so are a quantized net's absorbed batchnorms. ERROR_INPUT, naming the
 * node, for what ONNX cannot say. The messages live in the arena and refer to the net. */
#pragma once

#include "quant/model.h"
#include "quant/onnx/ops.h"

enum { ONNX_OPSET = 13, ONNX_IR_VERSION = 7 /* of the release that brought this opset */ };

/* The model with all that surrounds its graph; `version` is stair's. Derives the integers of a
 * quantized net, if that is still to be done. NULL on error. */
Onnx__ModelProto *onnx_model(Model *model, const char *version, Arena *arena, Error *error);

/* A graph being written. value[i] is the name of the tensor that readers of node i read. */
typedef struct OnnxWriter {
    OnnxGraph graph;
    const Graph *net;
    const char *value[GRAPH_MAX_NODES];
} OnnxWriter;

/* The names of the values that the node reads. */
void onnx_inputs(const OnnxWriter *writer, const Node *node, const char *in[LAYER_MAX_INPUTS]);

/* Appends the node of a layer that has an operator: values in[node->inputs], then `params` names of
 * its parameters, become `out`. */
void onnx_layer(const OnnxWriter *writer, const Node *node, const char *const in[], int params,
                const char *const param[], const char *out);
/* The same with the node's parameters in float. */
void onnx_float_layer(const OnnxWriter *writer, const Node *node, const char *const in[],
                      const char *out);

/* The nodes of a quantized net; value[] is filled. */
bool onnx_write_quantized(OnnxWriter *writer, const QuantNet *net, Error *error);
