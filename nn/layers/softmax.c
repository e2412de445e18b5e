/* softmax: exp(x) over its sum along the channels, at each position by itself. */
#include "nn/layers/pointwise.h"

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    (void)node;
    return op_softmax(run->tape, in[0]);
}

const Layer softmax_layer = {
    .name = "softmax",
    .summary = "exp(x) over its sum along the channels",
    .inputs = 1,
    .shape = pointwise_shape,
    .forward = forward,
    .rule = "softmax",
};
