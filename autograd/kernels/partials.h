/* Gradients of weights, which sum over the samples of a batch: each chunk of samples sums in memory
 * of its own, then the chunks are added in their order. No result depends on which thread did which
 * chunk. */
#pragma once

#include "autograd/tensor.h"

typedef struct Partials {
    Tensor *w, *b; /* what partials_add adds to; both may be NULL */
    int chunks;
    size_t size; /* floats of one chunk */
    float *data; /* [chunks][size] */
} Partials;

/* For a batch of `samples`; the memory is the arena's, not yet cleared. */
Partials partials_sized(Arena *arena, size_t size, int samples);
/* The same for the gradients of w and of b, which may be NULL: a chunk is its dw, then its db. */
Partials partials_new(Arena *arena, Tensor *w, Tensor *b, int samples);
/* Chunk i's sums, cleared; aligned to 64 bytes. */
float *partials_chunk(const Partials *partials, int i);
/* The sums of all chunks, size floats, in the place of the first. */
const float *partials_sum(const Partials *partials);
/* Adds the sums to w->grad and b->grad where they are wanted. */
void partials_add(const Partials *partials);
