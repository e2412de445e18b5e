/* relu: max(x, 0). */
#include "nn/graph.h"

static bool shape(Node *node, const Shape *const in[], Error *error) {
    (void)error;
    node->shape = *in[0];
    return true;
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    (void)node;
    return op_relu(run->tape, in[0]);
}

static float pointwise(const Node *node, float x) {
    (void)node;
    return x > 0 ? x : 0;
}

const Layer relu_layer = {
    .name = "relu",
    .summary = "max(x, 0)",
    .inputs = 1,
    .shape = shape,
    .forward = forward,
    .rule = "pointwise",
    .pointwise = pointwise,
    .clamps_at_zero = true,
};
