/* hardswish: x min(max(x + 3, 0), 6) / 6. */
#include "nn/layers/pointwise.h"

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    (void)node;
    return op_pointwise(run->tape, in[0], &hardswish_pointwise, 0);
}

static float pointwise(const Node *node, float x) {
    (void)node;
    return hardswish_pointwise.value(x, 0);
}

const Layer hardswish_layer = {
    .name = "hardswish",
    .summary = "x min(max(x + 3, 0), 6) / 6",
    .inputs = 1,
    .shape = pointwise_shape,
    .forward = forward,
    .rule = "pointwise",
    .pointwise = pointwise,
};
