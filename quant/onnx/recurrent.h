/* lstm and gru as ONNX's operators: rows of ops.c. */
#pragma once

#include "quant/onnx/message.h"
#include "nn/graph.h"

void onnx_write_lstm(const OnnxGraph *graph, const Node *node, const char *const in[],
                     const char *out);
void onnx_write_gru(const OnnxGraph *graph, const Node *node, const char *const in[],
                    const char *out);
