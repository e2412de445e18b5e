#include "nn/layers/pool.h"

#define WINDOW(part) offsetof(PoolSpec, window.part)
#define POOL_FIELDS                                                                                \
    {"kernel", &field_sizes, WINDOW(kernel), 1, 255, NULL, NULL},                                  \
        {"stride", &field_sizes, WINDOW(stride), 1, 255, "@kernel", NULL}, {                       \
        "padding", &field_padding, offsetof(PoolSpec, window), 0, 127, "0", NULL                   \
    }

const Field avgpool_fields[] = {
    POOL_FIELDS,
    {"count_include_pad", &field_bool, offsetof(PoolSpec, count_include_pad), 0, 0, "true", NULL},
    {0},
};
const Field maxpool_fields[] = {
    POOL_FIELDS,
    {"dilation", &field_sizes, WINDOW(dilation), 1, 127, "1", NULL},
    {0},
};

/* Whether each output position along dimension d has a place on the input: neither in too much
 * padding nor, with dilation, astride of all of it. */
static bool sees_input(const Window *w, int d, int in) {
    for (int o = 0; o < window_out(w, d, in); o++)
        if (!window_inside(w, d, o, in)) return false;
    return true;
}

bool pool_shape(Node *node, const Shape *const in[], Error *error) {
    PoolSpec *spec = node->spec;
    char text[SHAPE_TEXT];
    if (in[0]->rank < 2 || in[0]->rank > 1 + SPATIAL)
        return error_set(error, ERROR_INPUT, "a pool needs 1 to 3 spatial dimensions, not %s",
                         shape_text(in[0], text));
    for (int d = 0; d < SPATIAL; d++) /* pools without that field */
        if (!spec->window.dilation[d]) spec->window.dilation[d] = 1;
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

bool pool_divides_evenly(const PoolSpec *spec) {
    return spec->count_include_pad || !window_padded(&spec->window);
}

int pool_divisor(const Node *node, const Shape *in, int position) {
    const PoolSpec *spec = node->spec;
    const Window *window = &spec->window;
    Shape batched = shape_batched(in, 1);
    int size[SPATIAL], places = 1;
    window_sizes(&batched, size);
    for (int d = SPATIAL - 1; d >= 0; d--) {
        int out = window_out(window, d, size[d]);
        places *= pool_divides_evenly(spec) ? window->kernel[d]
                                            : window_inside(window, d, position % out, size[d]);
        position /= out;
    }
    return places;
}
