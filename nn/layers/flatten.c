/* flatten: C x H x W to one dimension, in that order. */
#include "nn/graph.h"

static bool shape(Node *node, const Shape *const in[], Error *error) {
    (void)error;
    node->shape = SHAPE((int)shape_count(in[0]));
    return true;
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    return op_reshape(run->tape, in[0], shape_batched(&node->shape, in[0]->shape.dim[0]));
}

const Layer flatten_layer = {
    .name = "flatten",
    .summary = "all dimensions into one",
    .inputs = 1,
    .shape = shape,
    .forward = forward,
    .rule = "share",
};
