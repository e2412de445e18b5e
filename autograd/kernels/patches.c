/* Which positions are on the input depends on the place alone, so it is worked out once a place,
 * and the loops over elements test nothing. */
#include "autograd/kernels/patches.h"

Patches patches_of(const Window *window, int channels, const Shape *batched) {
    Patches p = {.window = window, .channels = channels};
    window_sizes(batched, p.in);
    for (int d = 0; d < SPATIAL; d++) p.out[d] = window_out(window, d, p.in[d]);
    return p;
}

Place patches_place(const Patches *p, int place) {
    const Window *w = p->window;
    Place at;
    for (int d = SPATIAL - 1; d >= 0; d--) {
        int k = place % w->kernel[d];
        place /= w->kernel[d];
        at.span[d] = window_span(w, d, k, p->in[d], p->out[d]);
        at.first[d] = k * w->dilation[d] - w->padding[d];
    }
    return at;
}

Rows place_rows(const Patches *p, const Place *at, int d) {
    const int *stride = p->window->stride;
    int h = at->span[1].begin, w = at->span[2].begin;
    Rows rows = {.count = at->span[1].end - h, .length = at->span[2].end - w};
    if (rows.count == 0 || rows.length == 0) return (Rows){0};
    size_t in_d = (size_t)(at->first[0] + d * stride[0]);
    size_t in_h = (size_t)(at->first[1] + h * stride[1]);
    size_t in_w = (size_t)(at->first[2] + w * stride[2]);
    size_t in_width = (size_t)p->in[2], out_width = (size_t)p->out[2];
    rows.input = (in_d * (size_t)p->in[1] + in_h) * in_width + in_w;
    rows.output = ((size_t)d * (size_t)p->out[1] + (size_t)h) * out_width + (size_t)w;
    rows.input_step = (size_t)stride[1] * in_width;
    rows.output_step = out_width;
    return rows;
}
