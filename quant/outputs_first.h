/* Weights in the order in which quant/ works: those of one output together, v[outputs, depth].
 * Scales per channel, the folding of batch normalisation, ranges and proofs then know one axis, the
 * first, whatever layout a layer has (Layer.layout). Where the layer's own is so already, both ops
 * return their argument. */
#pragma once

#include "autograd/op.h"
#include "nn/graph.h"

/* From the layout of node's "weight", and back to it. Differentiable. */
Tensor *op_outputs_first(Tape *tape, Tensor *w, const Node *node);
Tensor *op_layer_order(Tape *tape, Tensor *v, const Node *node);
