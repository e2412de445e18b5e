/* reshape: the same values, in the same order (channels first), under another shape. */
#include "nn/graph.h"

typedef struct ReshapeSpec {
    Shape shape; /* of one sample */
} ReshapeSpec;

static const Field fields[] = {
    {"shape", &field_shape, offsetof(ReshapeSpec, shape), 1, 1 << 28, NULL, NULL},
    {0},
};

static bool shape(Node *node, const Shape *const in[], Error *error) {
    char a[SHAPE_TEXT], b[SHAPE_TEXT];
    node->shape = ((const ReshapeSpec *)node->spec)->shape;
    return shape_count(in[0]) == shape_count(&node->shape) ||
           error_set(error, ERROR_INPUT, "%s and %s are not of one size", shape_text(in[0], a),
                     shape_text(&node->shape, b));
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    return op_reshape(run->tape, in[0], shape_batched(&node->shape, in[0]->shape.dim[0]));
}

const Layer reshape_layer = {
    .name = "reshape",
    .summary = "the same values under another shape: shape=",
    .inputs = 1,
    .spec_size = sizeof(ReshapeSpec),
    .fields = fields,
    .shape = shape,
    .forward = forward,
    .rule = "share",
};
