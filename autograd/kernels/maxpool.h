/* Max-pool of one plane: the largest value of each window; of equal values the first, in the
 * window's order. Padding never wins; a window that meets no input gives -infinity, as in PyTorch.
 * A NaN wins over all numbers, so that a diverged net is noticed. */
#pragma once

#include <stdint.h>

#include "autograd/kernels/patches.h"

/* y[P] and which element of x won; -1: none. Planes hold less than 2^31 elements. */
void maxpool_plane(const Patches *patches, const float *x, float *y, int32_t *winner);

/* The gradient goes to the winner alone: dx = the sum of dy[p] over the windows that each element
 * won. */
void maxpool_plane_gradient(const Patches *patches, const float *dy, const int32_t *winner,
                            float *dx);
