/* input: the net's only entrance; its shape is that of one sample (channels x height x width; CxL
 * of a 1-D net, CxDxHxW of a 3-D one). */
#include "nn/layer.h"
#include "nn/graph.h"

typedef struct InputSpec {
    Shape shape;
} InputSpec;

static const Field fields[] = {
    {"shape", &field_shape, offsetof(InputSpec, shape), 1, 1 << 20, NULL, NULL},
    {0},
};

static bool shape(Node *node, const Shape *const in[], Error *error) {
    (void)in, (void)error;
    node->shape = ((const InputSpec *)node->spec)->shape;
    return true;
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    (void)run;
    Shape sample = shape_sample(&in[0]->shape);
    char a[SHAPE_TEXT], b[SHAPE_TEXT];
    CHECK(shape_equal(&sample, &node->shape), "%s is %s, given %s", node->name,
          shape_text(&node->shape, a), shape_text(&sample, b));
    return in[0];
}

const Layer input_layer = {
    .name = "input",
    .summary = "the net's entrance: shape=CxHxW (CxL, CxDxHxW) of one sample",
    .inputs = 0,
    .spec_size = sizeof(InputSpec),
    .fields = fields,
    .shape = shape,
    .forward = forward,
    .rule = "input",
};
