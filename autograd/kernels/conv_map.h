/* The linear map of a convolution, for one sample and one group, and its transpose.
 *
 * A window moves over a fine plane and stops at P positions, which are the coarse plane. With K =
 * fine channels * kernel places, R coarse channels, and columns[K,P] the patches of the fine side
 * (patches.h):
 *
 *   down    coarse[r,p] = sum over k of w[r,k] columns[k,p]
 *   up      columns[k,p] = sum over r of w[r,k] coarse[r,p], each added to the fine element that it
 * belongs to weight  dw[r,k] += sum over p of coarse[r,p] columns[k,p]
 *
 * A convolution is `down` and goes back by `up`; a transposed convolution is `up` and goes back by
 * `down`: each is the other's derivative. Both find their weight's gradient by `weight`. */
#pragma once

#include "autograd/kernels/patches.h"

typedef struct ConvMap {
    Window window;
    Patches patches; /* of one group's fine channels */
    int batch, groups;
    int rows, depth, positions; /* R K P */
    size_t coarse, fine;        /* floats of one sample's group on either side */
    size_t scratch; /* floats of columns for one worker; 0 if the fine side serves as it is */
} ConvMap;

/* The map between coarse[N, groups * R, ...] and fine[N, groups * C, ...] with w[groups * R, C,
 * kernel...], owned by the arena. */
const ConvMap *conv_map_new(Arena *arena, const Window *window, int groups, const Shape *coarse,
                            const Shape *fine);
/* Columns for every worker, map->scratch floats each; owned by the arena. */
float *conv_map_scratch(Arena *arena, const ConvMap *map);

/* columns[K,P] of fine, in the worker's part of `scratch`, or fine itself. */
const float *conv_map_columns(const ConvMap *map, const float *fine, float *scratch, int worker);

/* coarse = down(columns) + beta coarse; beta 0 does not read it. */
void conv_map_down(const ConvMap *map, const float *w, const float *columns, float beta,
                   float *coarse);
/* Adds to fine. */
void conv_map_up(const ConvMap *map, const float *w, const float *coarse, float *fine,
                 float *scratch, int worker);
void conv_map_weight(const ConvMap *map, const float *coarse, const float *columns, float *dw);

/* y[c,p] = b[c] (b NULL: 0), and its way back: db[c] += sum over p of g[c,p]. */
void conv_bias(const float *b, int channels, size_t plane, float *y);
void conv_bias_gradient(const float *g, int channels, size_t plane, float *db);
