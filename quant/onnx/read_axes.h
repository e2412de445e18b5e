/* Layers work along the channels, a sample's first dimension. What ONNX does along others is done
 * between two transposes: the dimensions come first, and go back afterwards. */
#pragma once

#include "quant/onnx/read.h"

/* How a value looked. Dimensions are counted as in ONNX: 0 is the batch. */
typedef struct OnnxFront {
    Shape order;  /* as of a transpose layer; the dimensions that were named come first */
    Shape turned; /* the sample in that order */
} OnnxFront;

/* The node whose value is that of `in` with the dimensions `axes` (bit d: dimension d, never 0)
 * first, as one, and at most SPATIAL behind them; -1: the net refuses it, the fault is noted. */
int onnx_to_front(OnnxReader *reader, const Onnx__NodeProto *node, int in, unsigned axes,
                  OnnxFront *front);
/* The way back, of a value that may be longer or shorter along what came first, if that was one
 * dimension. What `node` makes is this value. -1: as above. */
int onnx_from_front(OnnxReader *reader, const Onnx__NodeProto *node, int in,
                    const OnnxFront *front);

/* The dimension that an attribute says, of a value of so many, as 1 ...; 0: the batch, or none. */
int onnx_axis(const Onnx__NodeProto *node, int64_t absent, int rank);
