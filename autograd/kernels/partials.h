/* Gradients of weights, which sum over the samples of a batch: each chunk of samples sums in memory
 * of its own, then the chunks are added in their order. No result depends on which thread did which
 * chunk. */
#pragma once

#include "autograd/tensor.h"

typedef struct Partials {
    Tensor *w, *b; /* b may be NULL */
    int chunks;
    size_t size; /* floats of one chunk */
    float *data; /* [chunks][size]: each chunk's dw, then its db */
} Partials;

/* For a batch of `samples`; the memory is the arena's, not yet cleared. */
Partials partials_new(Arena *arena, Tensor *w, Tensor *b, int samples);
/* Chunk i's dw, cleared, with db behind its w->count floats. */
float *partials_chunk(const Partials *partials, int i);
/* Adds all chunks to w->grad and b->grad where they are wanted. */
void partials_add(const Partials *partials);
