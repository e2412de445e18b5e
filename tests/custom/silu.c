/* silu: x sigmoid(x). A layer with an input and nothing else. */
#include "nn/layers/pointwise.h"

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    (void)node;
    Tensor *gate = op_pointwise(run->tape, in[0], &sigmoid_pointwise, 0);
    return op_mul(run->tape, in[0], gate);
}

static float pointwise(const Node *node, float x) {
    (void)node;
    return x * sigmoid_pointwise.value(x, 0);
}

const Layer silu_layer = {
    .name = "silu",
    .summary = "x sigmoid(x)",
    .inputs = 1,
    .shape = pointwise_shape,
    .forward = forward,
    .rule = "pointwise",
    .pointwise = pointwise,
};
