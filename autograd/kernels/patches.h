/* Patches: where the places of a kernel meet the input, for all output positions; what the pools
 * walk over. */
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
static inline int patches_columns(const Patches *p) {
    return p->out[0] * p->out[1] * p->out[2];
}
static inline size_t patches_plane(const Patches *p) { /* floats of one channel of x */
    return (size_t)p->in[0] * (size_t)p->in[1] * (size_t)p->in[2];
}
/* Where one kernel place meets the input, for all output positions. */
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
