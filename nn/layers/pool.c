#include "nn/layers/pool.h"

#define WINDOW(part) offsetof(PoolSpec, window.part)
#define POOL_FIELDS                                                                                \
    {"kernel", &field_sizes, WINDOW(kernel), 1, 255, NULL, NULL},                                  \
        {"stride", &field_sizes, WINDOW(stride), 1, 255, "@kernel", NULL}, {                       \
        "padding", &field_sizes, WINDOW(padding), 0, 127, "0", NULL                                \
    }

const Field pool_fields[] = {POOL_FIELDS, {0}};
const Field maxpool_fields[] = {
    POOL_FIELDS,
    {"dilation", &field_sizes, WINDOW(dilation), 1, 127, "1", NULL},
    {0},
};

/* Whether each output position along dimension d has a place on the input. With dilation even a
 * window that is padded by less than its half may straddle the whole input. */
static bool sees_input(const Window *w, int d, int in) {
    for (int o = 0; o < window_out(w, d, in); o++) {
        bool inside = false;
        for (int k = 0; k < w->kernel[d] && !inside; k++) {
            int at = o * w->stride[d] - w->padding[d] + k * w->dilation[d];
            inside = at >= 0 && at < in;
        }
        if (!inside) return false;
    }
    return true;
}

bool pool_shape(Node *node, const Shape *const in[], Error *error) {
    PoolSpec *spec = node->spec;
    char text[SHAPE_TEXT];
    if (in[0]->rank < 2 || in[0]->rank > 1 + SPATIAL)
        return error_set(error, ERROR_INPUT, "a pool needs 1 to 3 spatial dimensions, not %s",
                         shape_text(in[0], text));
    for (int d = 0; d < SPATIAL; d++) {
        if (!spec->window.dilation[d]) spec->window.dilation[d] = 1; /* pools without that field */
        if (2 * spec->window.padding[d] > spec->window.kernel[d])    /* a window of padding alone */
            return error_set(error, ERROR_INPUT, "padding=%d is more than half of kernel=%d",
                             spec->window.padding[d], spec->window.kernel[d]);
    }
    if (!window_fits(&spec->window, in[0], error)) return false;
    Shape batched = shape_batched(in[0], 1);
    int size[SPATIAL];
    window_sizes(&batched, size);
    for (int d = 0; d < SPATIAL; d++)
        if (!sees_input(&spec->window, d, size[d]))
            return error_set(error, ERROR_INPUT,
                             "a window of %d places, dilation=%d, would lie in the padding alone",
                             spec->window.kernel[d], spec->window.dilation[d]);
    batched = window_shape(&spec->window, &batched, in[0]->dim[0]);
    node->shape = shape_sample(&batched);
    return true;
}
