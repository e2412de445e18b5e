/* A tail (autograd/ops.h) at work, for the ops that take one. */
#pragma once

#include "autograd/kernels/maxpool.h"
#include "autograd/ops.h"

typedef struct TailWork {
    Tail tail;
    Window window;
    Patches patches; /* of the pool */
    Tensor *out;     /* [N,C,...] the op's result */
    int channels;
    size_t plane, out_plane; /* floats, before the pool and behind it */
    Winner *winner;          /* as out; NULL without a pool */
    double *moments;         /* out->moments, to be filled; or NULL */
} TailWork;

/* For a value of that shape. `tail` may be NULL: an empty one. Owned by the tape. */
TailWork *tail_new(Tape *tape, const Tail *tail, const Shape *value);

/* No window of the pool lies in the padding alone: maps that keep the order of values may follow it
 * instead of coming before. */
bool tail_pools_first(const TailWork *work);

/* Where the op is to write plane `index` (n C + c) of its value: the result itself, or the
 * caller's plane[work->plane] where a pool follows. */
float *tail_target(const TailWork *work, size_t index, float *plane);
/* The rest, when it has done so: `target` is what tail_target gave. */
void tail_run(const TailWork *work, size_t index, float *target);

/* d loss / d v of plane `index`: in the caller's plane[work->plane], or the result's own gradient
 * where that is the same. */
const float *tail_gradient(const TailWork *work, size_t index, float *plane);
/* Hands it to the addend's gradient: once for each plane. `store`: in place of what is there. */
void tail_addend_gradient(const TailWork *work, size_t index, const float *gradient, bool store);
