/* tanh: the hyperbolic tangent. */
#include "nn/layers/pointwise.h"

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    (void)node;
    return op_pointwise(run->tape, in[0], &tanh_pointwise, 0);
}

static float pointwise(const Node *node, float x) {
    (void)node;
    return tanh_pointwise.value(x, 0);
}

const Layer tanh_layer = {
    .name = "tanh",
    .summary = "hyperbolic tangent",
    .inputs = 1,
    .shape = pointwise_shape,
    .forward = forward,
    .rule = "pointwise",
    .pointwise = pointwise,
};
