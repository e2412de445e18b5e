/* relu: max(x, 0). */
#include <math.h>

#include "nn/layers/pointwise.h"

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    (void)node;
    return op_relu(run->tape, in[0]);
}

static bool tail(const Run *run, const Node *node, Tensor *const in[], Tail *t) {
    (void)run, (void)node, (void)in;
    if (t->relu || t->pool) return false;
    return t->relu = true;
}

static float pointwise(const Node *node, float x) {
    (void)node;
    return x > 0 ? x : 0;
}

const Layer relu_layer = {
    .name = "relu",
    .summary = "max(x, 0)",
    .inputs = 1,
    .shape = pointwise_shape,
    .forward = forward,
    .tail = tail,
    .rule = "pointwise",
    .pointwise = pointwise,
    .clamp = {0, INFINITY},
};
