/* Patch copy (im2col): one row per weight of a kernel, one column per output position, so that a
 * convolution becomes one matrix product. One sample at a time; x is [C, D H W]. */
#pragma once

#include "autograd/window.h"

typedef struct Patches {
    const Window *window;
    int channels;           /* C of the samples given (one group's) */
    int in[SPATIAL];        /* input D H W */
    int out[SPATIAL];       /* output D H W */
} Patches;

Patches patches_of(const Window *window, int channels, const Shape *batched);
static inline int patches_rows(const Patches *p) { /* K = C * kernel places */
    const int *k = p->window->kernel;
    return p->channels * k[0] * k[1] * k[2];
}
static inline int patches_columns(const Patches *p) { return p->out[0] * p->out[1] * p->out[2]; }
/* True when the columns are the input itself (kernel 1, stride 1, no padding): no copy is needed. */
bool patches_identity(const Patches *p);

/* columns[K, P] from x[C, ...]; places in the padding get 0. */
void patches_gather(const Patches *p, const float *x, float *columns);
/* The transpose: adds each column's entries back to where they came from in x. */
void patches_scatter(const Patches *p, const float *columns, float *x);
