/* Gradients of weights, which sum over the samples of a batch: each chunk of samples sums in memory
 * of its own, then the chunks are added in their order. No result depends on which thread did which
 * chunk. */
#pragma once

#include "autograd/arena.h"

typedef struct Partials {
    int chunks;
    size_t size; /* floats of one chunk */
    float *data; /* [chunks][size] */
} Partials;

/* For a batch of `samples`; the memory is the arena's, not yet cleared. */
Partials partials_new(Arena *arena, size_t size, int samples);
/* Chunk i's sums, cleared; aligned to 64 bytes. */
float *partials_chunk(const Partials *partials, int i);
/* The sums of all chunks, size floats, in the place of the first. */
const float *partials_sum(const Partials *partials);
