/* sigmoid: 1 / (1 + exp(-x)). */
#include "nn/layers/pointwise.h"

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    (void)node;
    return op_pointwise(run->tape, in[0], &sigmoid_pointwise, 0);
}

static float pointwise(const Node *node, float x) {
    (void)node;
    return sigmoid_pointwise.value(x, 0);
}

const Layer sigmoid_layer = {
    .name = "sigmoid",
    .summary = "1 / (1 + exp(-x))",
    .inputs = 1,
    .shape = pointwise_shape,
    .forward = forward,
    .rule = "pointwise",
    .pointwise = pointwise,
};
