/* From bytes to ONNX messages, and from a TensorProto to numbers. Files come from anywhere: memory
 * is bounded by the file's size, no message nests (onnx.proto), and nothing that a file names is
 * opened. */
#pragma once

#include "autograd/arena.h"
#include "autograd/error.h"
#include "autograd/tensor.h"
#include "quant/onnx/onnx.pb-c.h"

enum {
    ONNX_NODES = 4096, /* of a graph */
    ONNX_TENSORS = 16384,
    ONNX_NAME = 1024, /* bytes of any name */
    ONNX_OPSET_LEAST = 1,
    ONNX_OPSET_MOST = 21,
};

/* Does the file begin like a ModelProto? */
bool onnx_knows(const unsigned char *data, size_t size);

/* The model, its version in *opset, its graph proved as far as no operator's meaning is needed:
 * every tensor has its data, of the size that its type and dimensions make; no external data,
 * functions, sparse tensors or sub-graphs; numbers and names within limits. Owned by the arena.
 * NULL and ERROR_INPUT, without the file's name. */
const Onnx__ModelProto *onnx_parse(const unsigned char *data, size_t size, Arena *arena,
                                   int64_t *opset, Error *error);

/* The proofs alone, for a model that was made in memory. */
bool onnx_check(const Onnx__ModelProto *model, int64_t *opset, Error *error);

/* Numbers known before the net runs. */
typedef struct OnnxConstant {
    Shape shape;
    size_t count;
    Onnx__TensorProto__DataType type;
    float *f;   /* [count] of the floating types, or NULL */
    int64_t *i; /* [count] of whole numbers and truth values, or NULL */

    /* Floats out of a DequantizeLinear, f = scale (code - zero): one scale, or one for each index
     * along `axis`. */
    int scales; /* 0: not quantized */
    int axis;
    const float *scale;  /* [scales] */
    const int64_t *zero; /* [scales] */
    int64_t least, most; /* of the codes */
} OnnxConstant;

/* A tensor that onnx_check has proved; NULL if its type has no numbers for nets (strings, complex).
 */
OnnxConstant *onnx_constant(const Onnx__TensorProto *tensor, Arena *arena);
