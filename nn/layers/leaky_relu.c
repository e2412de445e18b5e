/* leaky_relu: x where it is positive, slope x elsewhere. */
#include "nn/layers/pointwise.h"

typedef struct LeakyReluSpec {
    float slope;
} LeakyReluSpec;

static const Field fields[] = {
    {"slope", &field_float, offsetof(LeakyReluSpec, slope), -100, 100, "0.01", NULL},
    {0},
};

static float slope(const Node *node) {
    return ((const LeakyReluSpec *)node->spec)->slope;
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    return op_pointwise(run->tape, in[0], &leaky_relu_pointwise, slope(node));
}

static float pointwise(const Node *node, float x) {
    return leaky_relu_pointwise.value(x, slope(node));
}

const Layer leaky_relu_layer = {
    .name = "leaky_relu",
    .summary = "x where positive, slope times x elsewhere: slope=",
    .inputs = 1,
    .spec_size = sizeof(LeakyReluSpec),
    .fields = fields,
    .shape = pointwise_shape,
    .forward = forward,
    .rule = "pointwise",
    .pointwise = pointwise,
};
