/* Max-pool of one plane: the largest value of each window; of equal values the first, in the
 * window's order. Padding never wins; a window that meets no input gives -infinity, as in PyTorch.
 * A NaN wins over all numbers, so that a diverged net is noticed. */
#pragma once

#include <stdint.h>

#include "autograd/kernels/patches.h"

/* Which place of its kernel won, in the window's order; NO_PLACE: none. */
typedef uint16_t Winner;
enum { NO_PLACE = UINT16_MAX, MAXPOOL_PLACES = NO_PLACE /* the most a window may have */ };

/* y[P] and the winners[P] of sign x, where sign is 1 or -1; y is sign times the largest. */
void maxpool_plane(const Patches *patches, const float *x, float sign, float *y, Winner *winner);

/* What a relu behind the pool cuts has no winner. */
void maxpool_cut(const float *y, size_t count, Winner *winner);

/* No winner where keep is 0. */
void maxpool_keep(const uint8_t *keep, size_t count, Winner *winner);

/* The gradient goes to the winner alone: dx = the sum of dy[p] over the windows that each element
 * won. */
void maxpool_plane_gradient(const Patches *patches, const float *dy, const Winner *winner,
                            float *dx);
