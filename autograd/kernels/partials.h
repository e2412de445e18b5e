/* Gradients of weights, which sum over the samples of a batch: each piece, some chunks of samples,
 * sums in memory of its own, then the pieces are added in their order. No result depends on which
 * thread did which piece. */
#pragma once

#include "autograd/arena.h"
#include "autograd/kernels/parallel.h"

typedef struct Partials {
    int chunks, together, pieces; /* of the batch; of a piece */
    size_t size;                  /* floats of one piece */
    float *data;                  /* [pieces][size] */
} Partials;

/* For a batch of `samples`; the memory is the arena's. */
Partials partials_new(Arena *arena, size_t size, int samples);
/* Clears the sums, and calls body(context, chunk, worker) for all chunks of the batch: as
 * parallel_along does, but those of a piece one after another. */
void partials_along(const Partials *partials, ParallelBody *body, void *context);
/* What a chunk adds to: its piece's sums, aligned to 64 bytes. */
float *partials_chunk(const Partials *partials, int chunk);
/* The sums of all pieces, size floats, in the place of the first. */
const float *partials_sum(const Partials *partials);
