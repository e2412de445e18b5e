/* Patch copy. Row (c, place) of the columns holds, for every output position, the element of
 * channel c under that kernel place. Which positions are on the input depends on the place alone,
 * so it is worked out once a place, and the loops over elements test nothing. */
#include "autograd/kernels/patches.h"

#include <string.h>

Patches patches_of(const Window *window, int channels, const Shape *batched) {
    Patches p = {.window = window, .channels = channels};
    window_sizes(batched, p.in);
    for (int d = 0; d < SPATIAL; d++) p.out[d] = window_out(window, d, p.in[d]);
    return p;
}

bool patches_identity(const Patches *p) {
    const Window *w = p->window;
    for (int d = 0; d < SPATIAL; d++)
        if (w->kernel[d] != 1 || w->stride[d] != 1 || w->padding[d] != 0) return false;
    return true;
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

static bool on_input_everywhere(const Patches *p, const Place *at) {
    for (int d = 0; d < SPATIAL; d++)
        if (at->span[d].end - at->span[d].begin < p->out[d]) return false;
    return true;
}

/* Rows are short, often a dozen floats: calling memcpy for each would take longer than copying. */
static inline void copy_run(int count, const float *restrict x, float *restrict column) {
    enum { STEP = 4, LONG = 64 };
    if (count >= LONG) {
        memcpy(column, x, sizeof *x * (size_t)count);
    } else if (count >= STEP) {
        int last = count - STEP; /* the final step overlaps the one before it */
        for (int i = 0; i < last; i += STEP) memcpy(column + i, x + i, sizeof *x * STEP);
        memcpy(column + last, x + last, sizeof *x * STEP);
    } else {
        for (int i = 0; i < count; i++) column[i] = x[i];
    }
}

static inline void copy_row(int count, int stride, const float *restrict x,
                            float *restrict column) {
    if (stride == 1)
        copy_run(count, x, column);
    else
        for (int i = 0; i < count; i++) column[i] = x[i * stride];
}

static inline void add_row(int count, int stride, const float *restrict column, float *restrict x) {
    if (stride == 1)
        for (int i = 0; i < count; i++) x[i] += column[i];
    else
        for (int i = 0; i < count; i++) x[i * stride] += column[i];
}

void patches_gather(const Patches *p, const float *x, float *columns) {
    int places = patches_places(p), stride = p->window->stride[2];
    size_t plane = patches_plane(p), positions = (size_t)patches_columns(p);
    for (int i = 0; i < places; i++) {
        Place at = patches_place(p, i);
        bool whole = on_input_everywhere(p, &at);
        for (int c = 0; c < p->channels; c++) {
            const float *from = x + (size_t)c * plane;
            float *to = columns + ((size_t)c * (size_t)places + (size_t)i) * positions;
            if (!whole) memset(to, 0, sizeof *to * positions);
            for (int d = at.span[0].begin; d < at.span[0].end; d++) {
                Rows rows = place_rows(p, &at, d);
                for (int h = 0; h < rows.count; h++)
                    copy_row(rows.length, stride, from + rows.input + (size_t)h * rows.input_step,
                             to + rows.output + (size_t)h * rows.output_step);
            }
        }
    }
}

void patches_scatter(const Patches *p, const float *columns, float *x) {
    int places = patches_places(p), stride = p->window->stride[2];
    size_t plane = patches_plane(p), positions = (size_t)patches_columns(p);
    for (int i = 0; i < places; i++) {
        Place at = patches_place(p, i);
        for (int c = 0; c < p->channels; c++) {
            const float *from = columns + ((size_t)c * (size_t)places + (size_t)i) * positions;
            float *to = x + (size_t)c * plane;
            for (int d = at.span[0].begin; d < at.span[0].end; d++) {
                Rows rows = place_rows(p, &at, d);
                for (int h = 0; h < rows.count; h++)
                    add_row(rows.length, stride, from + rows.output + (size_t)h * rows.output_step,
                            to + rows.input + (size_t)h * rows.input_step);
            }
        }
    }
}
