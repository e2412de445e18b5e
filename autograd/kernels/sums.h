/* Sums over a row of floats: several at once, which become vectors, then these in double, always in
 * the same order. */
#pragma once

#include <stddef.h>

/* sum of x[i] */
double row_sum(const float *x, size_t count);
/* sum of (a[i] - a_mean) (x[i] - mean) */
double row_dot(const float *a, float a_mean, const float *x, float mean, size_t count);
