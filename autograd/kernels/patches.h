/* Patch copy (im2col): one row per weight of a kernel, one column per output position, so that a
 * convolution becomes one matrix product. One sample at a time; x is [C, D H W]. */
#pragma once

#include "autograd/window.h"

typedef struct Patches {
    const Window *window;
    int channels;     /* C of the samples given (one group's) */
    int in[SPATIAL];  /* input D H W */
    int out[SPATIAL]; /* output D H W */
} Patches;

Patches patches_of(const Window *window, int channels, const Shape *batched);
static inline int patches_places(const Patches *p) {
    const int *k = p->window->kernel;
    return k[0] * k[1] * k[2];
}
static inline int patches_rows(const Patches *p) { /* K = C * kernel places */
    return p->channels * patches_places(p);
}
static inline int patches_columns(const Patches *p) {
    return p->out[0] * p->out[1] * p->out[2];
}
static inline size_t patches_plane(const Patches *p) { /* floats of one channel of x */
    return (size_t)p->in[0] * (size_t)p->in[1] * (size_t)p->in[2];
}
/* True when the columns are the input itself (kernel 1, stride 1, no padding): no copy needed. */
bool patches_identity(const Patches *p);

/* columns[K, P] from x[C, ...]; places in the padding get 0. */
void patches_gather(const Patches *p, const float *x, float *columns);
/* The transpose: adds each column's entries back to where they came from in x. */
void patches_scatter(const Patches *p, const float *columns, float *x);

/* Where one kernel place meets the input, for all output positions; the pools use it too. */
typedef struct Place {
    Span span[SPATIAL]; /* output positions at which the place is on the input, D H W */
    int first[SPATIAL]; /* input position for output 0; negative in the padding */
} Place;
Place patches_place(const Patches *p, int place); /* 0 <= place < patches_places(p) */

/* The outputs at depth d that the place serves: `count` rows of `length`, and the inputs they read,
 * within a row stride[2] apart. Offsets into the planes of one channel, and from one row to the
 * next. */
typedef struct Rows {
    int count, length;
    size_t input, output, input_step, output_step;
} Rows;
Rows place_rows(const Patches *p, const Place *at, int d); /* span[0].begin <= d < span[0].end */
