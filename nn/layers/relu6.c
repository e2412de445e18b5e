/* relu6: min(max(x, 0), 6). */
#include "nn/layers/pointwise.h"

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    (void)node;
    return op_pointwise(run->tape, in[0], &relu6_pointwise, 0);
}

static float pointwise(const Node *node, float x) {
    (void)node;
    return relu6_pointwise.value(x, 0);
}

const Layer relu6_layer = {
    .name = "relu6",
    .summary = "min(max(x, 0), 6)",
    .inputs = 1,
    .shape = pointwise_shape,
    .forward = forward,
    .rule = "pointwise",
    .pointwise = pointwise,
    .clamp = {0, 6},
};
