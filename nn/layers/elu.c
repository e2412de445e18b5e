/* elu: x where it is positive, alpha (exp(x) - 1) elsewhere. */
#include "nn/layers/pointwise.h"

typedef struct EluSpec {
    float alpha;
} EluSpec;

static const Field fields[] = {
    {"alpha", &field_float, offsetof(EluSpec, alpha), -100, 100, "1", NULL},
    {0},
};

static float alpha(const Node *node) {
    return ((const EluSpec *)node->spec)->alpha;
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    return op_pointwise(run->tape, in[0], &elu_pointwise, alpha(node));
}

static float pointwise(const Node *node, float x) {
    return elu_pointwise.value(x, alpha(node));
}

const Layer elu_layer = {
    .name = "elu",
    .summary = "x where positive, alpha (exp(x) - 1) elsewhere: alpha=",
    .inputs = 1,
    .spec_size = sizeof(EluSpec),
    .fields = fields,
    .shape = pointwise_shape,
    .forward = forward,
    .rule = "pointwise",
    .pointwise = pointwise,
};
