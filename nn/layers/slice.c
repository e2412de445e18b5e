/* slice: of one dimension of a sample a part, the places begin, begin + step, ... before end:
 * PyTorch's x[:, begin:end:step] where axis=1, the channels. */
#include "nn/layers/view.h"

static const Field fields[] = {
    {"axis", &field_int, offsetof(SliceSpec, axis), 1, MAX_RANK - 1, "1", NULL},
    {"begin", &field_int, offsetof(SliceSpec, begin), 0, 1 << 28, "0", NULL},
    {"end", &field_int, offsetof(SliceSpec, end), 1, 1 << 28, NULL, NULL},
    {"step", &field_int, offsetof(SliceSpec, step), 1, 1 << 28, "1", NULL},
    {0},
};

static bool shape(Node *node, const Shape *const in[], Error *error) {
    SliceSpec *spec = node->spec;
    View *view = &spec->base.view;
    char text[SHAPE_TEXT];
    int d = spec->axis - 1;
    if (d >= in[0]->rank || spec->begin >= spec->end || spec->end > in[0]->dim[d])
        return error_set(error, ERROR_INPUT, "no places %d to %d along axis %d of %s", spec->begin,
                         spec->end, spec->axis, shape_text(in[0], text));
    *view = view_whole(in[0]);
    view->shape.dim[d] = (spec->end - spec->begin + spec->step - 1) / spec->step;
    view->first = (size_t)spec->begin * view->step[d];
    view->step[d] *= (size_t)spec->step;
    node->shape = view->shape;
    return true;
}

const Layer slice_layer = {
    .name = "slice",
    .summary = "a part of one dimension: axis= begin= end= step=",
    .inputs = 1,
    .spec_size = sizeof(SliceSpec),
    .fields = fields,
    .shape = shape,
    .forward = view_forward,
    .rule = "view",
};
