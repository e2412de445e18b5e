/* Products of convolutions of few input channels. Vectors run along lines of positions, so that
 * nothing is transposed: with a dozen of taps that would take as long as the products.
 *
 *     out[c][y wide + x] = bias[c] + sum over t of w[t][c] in[from[y wide] + x + offset[t]]
 *     dw[t][c] += sum over y, x of g[c][y wide + x] in[from[y wide] + x + offset[t]]
 *
 * The first sum runs over t in order, the second over lanes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Plane {
    int channels, taps;
    int lines, wide; /* positions; wide >= LANE */
    const float *in;
    const int32_t *from, *offset; /* [lines][wide] where windows begin; [taps] */
    size_t step;                  /* floats of a plane of out, or of g */
    int w_step;                   /* from the weights of one tap to the next: w[taps][w_step] */
} Plane;

/* out is written, or added to if `add`. */
typedef void PlaneProduct(const Plane *plane, const float *w, const float *bias, float *out,
                          bool add);
typedef void PlaneGradient(const Plane *plane, const float *g, float *dw);

PlaneProduct plane_product__scalar, plane_product__avx2;
PlaneGradient plane_gradient__scalar, plane_gradient__avx2;
