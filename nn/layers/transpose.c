/* transpose: the dimensions of a sample in another order, as PyTorch's permute: order=2x1 makes
 * C x L an L x C. The batch, dimension 0, stays where it is. */
#include "nn/layers/view.h"

static const Field fields[] = {
    {"order", &field_shape, offsetof(TransposeSpec, order), 1, MAX_RANK - 1, "2x1", NULL},
    {0},
};

static bool shape(Node *node, const Shape *const in[], Error *error) {
    TransposeSpec *spec = node->spec;
    View whole = view_whole(in[0]), *view = &spec->base.view;
    char a[SHAPE_TEXT], b[SHAPE_TEXT];
    unsigned seen = 0;
    *view = (View){.shape.rank = spec->order.rank};
    for (int d = 0; d < spec->order.rank && spec->order.rank == in[0]->rank; d++) {
        int from = spec->order.dim[d] - 1;
        if (from >= in[0]->rank) break;
        seen |= 1u << from;
        view->shape.dim[d] = in[0]->dim[from];
        view->step[d] = whole.step[from];
    }
    node->shape = view->shape;
    return seen + 1 == 1u << in[0]->rank ||
           error_set(error, ERROR_INPUT, "order=%s does not name each dimension of %s once, from 1",
                     shape_text(&spec->order, a), shape_text(in[0], b));
}

const Layer transpose_layer = {
    .name = "transpose",
    .summary = "the dimensions of a sample in another order: order=2x1",
    .inputs = 1,
    .spec_size = sizeof(TransposeSpec),
    .fields = fields,
    .shape = shape,
    .forward = view_forward,
    .rule = "view",
};
