/* The transforms of Winograd's minimal filtering, F(4x4, 3x3): a convolution with a kernel of 3x3
 * becomes products of numbers in tiles of 6x6, four times fewer than it has taps.
 *
 * In one dimension (Toom 1963, Cook 1966; Winograd 1980): with g(x) = sum of g[k] x^k of degree 2
 * and c(x) of degree 3, the six coefficients of d = g c are known from its values at five points
 * and from its leading coefficient ("the value at infinity"), and values multiply one by one:
 *
 *     d = B ((G' g) * (A c))
 *
 * G' and A evaluate at the points, B interpolates. A sum over all of g[k] c[j] d[k + j] can be read
 * as any of three linear maps, so that all three directions of a convolution share the matrices
 * (Lavin, Gray 2016: https://arxiv.org/abs/1509.09308, who write the first one):
 *
 *     down    c[j] = sum over k of g[k] d[k + j]        c = A' ((G g) * (B' d))
 *     up      d[k + j] += g[k] c[j]                     d = B ((G g) * (A c))
 *     weight  g[k] = sum over j of c[j] d[k + j]        g = G' ((B' d) * (A c))
 *
 * In two dimensions each matrix works on columns, then on rows. Sums over channels, samples and
 * tiles are taken between the transforms.
 *
 * The points are 0, +-a, +-b and infinity with a = 3/4, b = 3/2. All entries of A and B are exact
 * floats. The usual points, 0, +-1 and +-2, are whole but lie further apart, and the error grows
 * with powers of the points: on sums over 40 channels its root mean square is 5 times that of the
 * plain sum in float32; with these points 2.5 times.
 *
 * Point 0, a, -a, b, -b, infinity are rows 0 to 5 of a transformed tile. With s = a^2 + b^2 and t =
 * a^2 b^2 the interpolating polynomials, which are the columns of B, are
 *
 *     (x^2 - a^2) (x^2 - b^2) = x^4 - s x^2 + t                                    at 0
 *     x (x +- a) (x^2 - b^2)  = x^4 +- a x^3 - b^2 x^2 -+ a b^2 x                  at +-a
 *     x (x +- b) (x^2 - a^2)  = x^4 +- b x^3 - a^2 x^2 -+ b a^2 x                  at +-b
 *     x (x^2 - a^2) (x^2 - b^2) = x^5 - s x^3 + t x                                at infinity
 *
 * each divided by its own value at its point: G takes these divisors,
 *
 *     t at 0,   2 a^2 (a^2 - b^2) at +-a,   2 b^2 (b^2 - a^2) at +-b,   1 at infinity. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { WINOGRAD_KERNEL = 3, WINOGRAD_COARSE = 4, WINOGRAD_FINE = 6, WINOGRAD_VALUES = 36 };

/* Element k of a tile is a row of `width` floats, a multiple of LANE, at tile + row[k]; value k one
 * at values + k step. All are aligned to 32 bytes. The same transform is made of every column.
 * Results begin with start[width]; NULL: with what the tile holds. */
typedef void WinogradValues(const float *tile, const int32_t *row, float *values, size_t step,
                            int width);
typedef void WinogradBack(const float *values, size_t step, const float *start, float *tile,
                          const int32_t *row, int width);

WinogradValues winograd_fine;      /* values[6][6] = B' d B, d[6][6] */
WinogradValues winograd_coarse;    /* values = A c A', c[4][4] */
WinogradValues winograd_weight;    /* values = G g G', g[3][3] */
WinogradBack winograd_fine_back;   /* d = start + B v B' */
WinogradBack winograd_coarse_back; /* c = start + A' v A */
WinogradBack winograd_weight_back; /* g = start + G' v G */
