/* add: two inputs of one shape, element by element: the residual connection. */
#include "nn/graph.h"

static bool shape(Node *node, const Shape *const in[], Error *error) {
    char a[SHAPE_TEXT], b[SHAPE_TEXT];
    if (!shape_equal(in[0], in[1]))
        return error_set(error, ERROR_INPUT, "the inputs differ: %s and %s", shape_text(in[0], a),
                         shape_text(in[1], b));
    node->shape = *in[0];
    return true;
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    (void)node;
    return op_add(run->tape, in[0], in[1]);
}

const Layer add_layer = {
    .name = "add",
    .summary = "sum of two inputs of one shape",
    .inputs = 2,
    .shape = shape,
    .forward = forward,
    .rule = "sum",
};
