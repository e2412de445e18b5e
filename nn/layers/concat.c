/* concat: the channels of all inputs, one behind the other; the other dimensions are the same. */
#include "nn/graph.h"

static bool shape(Node *node, const Shape *const in[], Error *error) {
    char a[SHAPE_TEXT], b[SHAPE_TEXT];
    node->shape = *in[0];
    double channels = in[0]->dim[0];
    for (int k = 1; k < node->inputs; k++) {
        Shape same = *in[k];
        same.dim[0] = in[0]->dim[0];
        if (!shape_equal(&same, in[0]))
            return error_set(error, ERROR_INPUT,
                             "the inputs differ in more than channels: %s and %s",
                             shape_text(in[0], a), shape_text(in[k], b));
        channels += in[k]->dim[0];
    }
    if (channels > 0x1p28)
        return error_set(error, ERROR_INPUT, "%.0f channels, at most 2^28", channels);
    node->shape.dim[0] = (int)channels;
    return true;
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    return op_concat(run->tape, node->inputs, in);
}

const Layer concat_layer = {
    .name = "concat",
    .summary = "channels of several inputs, one behind the other",
    .inputs = INPUTS_MANY,
    .shape = shape,
    .forward = forward,
    .rule = "concat",
};
