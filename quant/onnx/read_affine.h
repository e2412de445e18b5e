/* Maps of each channel: how layers with weights take in what follows them. */
#pragma once

#include "quant/onnx/read.h"

/* y = gain x + shift for each output. */
typedef struct OnnxAffine {
    int outputs;
    double *gain, *shift; /* [outputs] */
} OnnxAffine;

OnnxAffine onnx_identity_map(OnnxReader *reader, int outputs);
/* Composes all that follows `node` (behind rounded weights a BatchNormalization, too) into the map;
 * gives the last of them, or `node`. *shifts: were there any? NULL: not wanted. */
const Onnx__NodeProto *onnx_follow_all(OnnxReader *reader, const Onnx__NodeProto *node,
                                       bool rounded, int spatial, OnnxAffine *map, bool *shifts);
/* The number of the constant that is output o's. */
double onnx_of_output(const OnnxConstant *c, int o);
/* gain x + shift of all values of `in`: a batchnorm, whose value the node makes. -1: the net
 * refuses it, the fault is noted. */
int onnx_add_scaled(OnnxReader *reader, const Onnx__NodeProto *node, int in, double gain,
                    double shift);
