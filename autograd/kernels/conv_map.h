/* The linear map of a convolution, for one sample and one group, and its transpose.
 *
 * A window moves over a fine plane and stops at P positions, which are the coarse plane. With K =
 * fine channels * kernel places, R coarse channels, and columns[K,P] what lies under the window
 * (which is never copied; sweep.h):
 *
 *   down    coarse[r,p] = sum over k of w[r,k] columns[k,p]
 *   up      columns[k,p] = sum over r of w[r,k] coarse[r,p], all that belongs to one fine element
 *           added up
 *   weight  dw[r,k] = sum over p of coarse[r,p] columns[k,p]
 *
 * A convolution is `down` and goes back by `up`; a transposed convolution is `up` and goes back by
 * `down`: each is the other's derivative. Both find their weight's gradient by `weight`. */
#pragma once

#include "autograd/kernels/sweep.h"
#include "autograd/kernels/tile.h"

typedef struct ConvMap {
    Window window;
    SweepSides sides; /* of one group */
    int batch, groups;
    size_t weights;      /* of one group: R K */
    size_t coarse, fine; /* floats of one sample's group on either side */
} ConvMap;

/* The map between coarse[N, groups * R, ...] and fine[N, groups * C, ...] with w[groups * R, C,
 * kernel...], owned by the arena. */
const ConvMap *conv_map_new(Arena *arena, const Window *window, int groups, const Shape *coarse,
                            const Shape *fine);

/* One direction, ready to run: the weights of all groups in the order of the products, and scratch
 * for every worker. */
typedef struct ConvPass {
    const TileKernel *kernel;
    const Sweep *sweep;
    size_t packed, frame, panel; /* floats: of one group; of one worker */
    float *weights, *scratch;
} ConvPass;

/* w and b (NULL: zeros; the result begins with it) may be NULL both, for conv_pass_weight alone.
 * Owned by the arena. */
ConvPass conv_pass_new(Arena *arena, const Sweep *sweep, int groups, const float *w,
                       const float *b);
/* `in` with zeros around it, until the worker's next call. */
const float *conv_pass_frame(const ConvPass *pass, const float *in, int worker);
/* The channels of one panel, which begins with channel `begin` (tile.h), to out[width][plane];
 * added to what is there if `add`. */
void conv_pass_panel(const ConvPass *pass, int group, const float *frame, int begin, float *out,
                     bool add, int worker);
/* All channels. */
void conv_pass_run(const ConvPass *pass, int group, const float *frame, float *out, bool add,
                   int worker);

/* Gradients of weights, in the order of the products of a sweep_down: floats of one group. */
size_t conv_pass_gradient(const ConvPass *pass);
/* Adds coarse columns' to sums, with the frame of the fine side; and the sums over positions of
 * coarse[R,P] to db[R] (NULL: not wanted). */
void conv_pass_weight(const ConvPass *pass, const float *frame, const float *coarse, float *sums,
                      float *db, int worker);
/* Adds one group's sums to dw[R,K]. */
void conv_pass_unpack(const ConvPass *pass, const float *sums, float *dw);
