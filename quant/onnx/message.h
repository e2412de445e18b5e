/* Building an ONNX graph: nodes, initializers, inputs and outputs as protobuf-c messages in an
 * arena. Strings that are passed in are kept, not copied; they must live as long as the arena. */
#pragma once

#include "autograd/arena.h"
#include "autograd/error.h"
#include "autograd/tensor.h"
#include "quant/onnx/onnx.pb-c.h"

typedef struct OnnxGraph {
    Arena *arena;
    Onnx__GraphProto *proto;
} OnnxGraph;

OnnxGraph onnx_graph(Arena *arena, const char *name);

/* Appends a node with its first output; inputs and outputs are names. */
Onnx__NodeProto *onnx_node(const OnnxGraph *graph, const char *op_type, const char *name,
                           int inputs, const char *const in[], const char *out);
void onnx_node_input(const OnnxGraph *graph, Onnx__NodeProto *node, const char *in);
void onnx_node_output(const OnnxGraph *graph, Onnx__NodeProto *node, const char *out);
/* A Reshape of `in` to [N, sample]; a dimension of 0 stays as the input has it. */
void onnx_reshape(const OnnxGraph *graph, const char *name, const char *in, const Shape *sample,
                  const char *out);
/* An attribute of that type, for the caller to fill. */
Onnx__AttributeProto *onnx_attribute(const OnnxGraph *graph, Onnx__NodeProto *node,
                                     const char *name, Onnx__AttributeProto__AttributeType type);

/* An initializer of elements of `width` bytes, as in memory; not copied. Returns its name. */
const char *onnx_tensor(const OnnxGraph *graph, const char *name, Onnx__TensorProto__DataType type,
                        size_t width, const Shape *shape, const void *data);
const char *onnx_floats(const OnnxGraph *graph, const char *name, const Shape *shape,
                        const float *data);

/* A float value of the graph, [N, sample], as its input or output. */
void onnx_input(const OnnxGraph *graph, const char *name, const Shape *sample);
void onnx_output(const OnnxGraph *graph, const char *name, const Shape *sample);

/* Every tensor has a name of its own: values and initializers alike. ERROR_INPUT, telling which, if
 * not. */
bool onnx_names_differ(const OnnxGraph *graph, Error *error);
