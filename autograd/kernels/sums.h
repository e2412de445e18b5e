/* Sums over a row of floats: several at once, which become vectors, then these in double, always in
 * the same order. */
#pragma once

#include "autograd/kernels/row_map.h"

/* sum of x[i] */
double row_sum(const float *x, size_t count);
/* Of g[i], and of g[i] (x[i] - mean), where g is dy, but 0 where the map's relu cut. */
void row_sums(const RowMap *map, const float *x, const float *dy, size_t count, double sums[2]);

/* What is needed of a row to find the variance of many: its sum, and the sum of squares around its
 * own mean, as a float. count > 0. */
void row_moments(const float *x, size_t count, double moments[2]);
/* From them the sum of squares around another mean. */
double moments_around(const double moments[2], size_t count, float mean);
