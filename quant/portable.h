/* Portable scales: those with which float32 decides every rounding as the integers do.
 *
 * An output's code is N S / S' rounded, N the layer's exact sum. Integers compute it to the last
 * bit; a float32 runtime, which multiplies codes by scales and adds, is off by some millionths, and
 * where N S / S' lies that close to the middle between two codes it may take the other one. With
 *
 *     S' / S = k / 2^j,   k odd, j >= 0,
 *
 * no sum can lie there: N 2^j / k = m + 1/2 would mean 2^(j+1) N = k (2 m + 1), an even number that
 * is odd. The nearest sum is 1 / (2 k) away, thousands of times what float32 is off. k has 7 bits
 * (PORTABLE_BITS): scales become at most 1/32 coarser. Where S' / S itself has more bits, j is 0:
 * the middle is half a unit of the sum away.
 *
 *   weights      their scales are made to fit: S_x S_w / S_y = 2^j / k
 *   add, concat  inputs are multiples k / 2^j of the first one's scale, k any, and the result an
 *                odd one, at least as fine
 *   means, mul   the result is an odd multiple of S_x, of S_a S_b
 *
 * A value that several adds or concats would move is moved by the first. Grids that are fixed or
 * given are left alone; learned ones are aligned at the end of each epoch. */
#pragma once

#include "quant/rule.h"

/* A weighted layer's S_w, not below `scale`, by what it reads and writes. */
float portable_weight_scale(float input_scale, float scale, float output_scale);
/* The largest code of a bias beside such weights: float32 sums still tell units apart. */
enum { PORTABLE_BIAS_BITS = 20 };

/* A value's scale, not below `scale`, by its alignment. */
float portable_scale(const Alignment *alignment, float scale);

/* Rule.align: what the scales around a node are multiples of. */
void align_terms(QNode *q);   /* the result is a sum of inputs, or consists of them */
void align_product(QNode *q); /* of the first two inputs */
