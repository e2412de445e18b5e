/* lstm and gru as ONNX's operators: rows of ops.c. */
#pragma once

#include "quant/onnx/message.h"
#include "nn/graph.h"

enum { ONNX_GATES = 4 };

typedef struct OnnxRecurrent {
    const char *layer, *op_type;
    int gates, order[ONNX_GATES];       /* which of PyTorch's gates is ONNX's first, second, ... */
    const char *activation[ONNX_GATES]; /* what ONNX calls the cell's functions, then NULL */
} OnnxRecurrent;

/* By the name of the layer or of the operator; NULL: neither. */
const OnnxRecurrent *onnx_recurrent(const char *name);

void onnx_write_lstm(const OnnxGraph *graph, const Node *node, const char *const in[],
                     const char *out);
void onnx_write_gru(const OnnxGraph *graph, const Node *node, const char *const in[],
                    const char *out);
