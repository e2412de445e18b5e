/* hardtanh: min(max(x, min_val), max_val), PyTorch's Hardtanh. */
#include "nn/layers/hardtanh.h"
#include "nn/layers/pointwise.h"

static const Field fields[] = {
    {"min_val", &field_float, offsetof(HardtanhSpec, min_val), -1e38, 1e38, "-1", NULL},
    {"max_val", &field_float, offsetof(HardtanhSpec, max_val), -1e38, 1e38, "1", NULL},
    {0},
};

static bool shape(Node *node, const Shape *const in[], Error *error) {
    const HardtanhSpec *spec = node->spec;
    node->shape = *in[0];
    return spec->min_val < spec->max_val ||
           error_set(error, ERROR_INPUT, "min_val=%g is not below max_val=%g",
                     (double)spec->min_val, (double)spec->max_val);
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    const HardtanhSpec *spec = node->spec;
    Tensor *above = op_pointwise(run->tape, in[0], &at_least_pointwise, spec->min_val);
    return op_pointwise(run->tape, above, &at_most_pointwise, spec->max_val);
}

static float pointwise(const Node *node, float x) {
    const HardtanhSpec *spec = node->spec;
    return at_most_pointwise.value(at_least_pointwise.value(x, spec->min_val), spec->max_val);
}

const Layer hardtanh_layer = {
    .name = "hardtanh",
    .summary = "min(max(x, min_val), max_val): min_val= max_val=",
    .inputs = 1,
    .spec_size = sizeof(HardtanhSpec),
    .fields = fields,
    .shape = shape,
    .forward = forward,
    .rule = "pointwise",
    .pointwise = pointwise,
};
