#include "nn/layers/pair.h"

bool pair_shape(Node *node, const Shape *const in[], Error *error) {
    char a[SHAPE_TEXT], b[SHAPE_TEXT];
    if (!shape_equal(in[0], in[1]))
        return error_set(error, ERROR_INPUT, "the inputs differ: %s and %s", shape_text(in[0], a),
                         shape_text(in[1], b));
    node->shape = *in[0];
    return true;
}
