/* FP8 E4M3, to simulate: a sign, 4 bits of exponent (bias 7), 3 of mantissa, no infinity, at most
 * 448 (Micikevicius et al. 2022). Nets here ship as integers; this is for comparing grids. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "autograd/error.h"

#define E4M3_MOST 448.0f

/* The nearest number of the format, ties to an even mantissa, saturated. NaN stays. */
float e4m3_round(float x);

/* The scaled_e4m3 of NVIDIA's toolkit: x[count] times 448 / amax, rounded, and divided by that
 * again. An amax of at most 2^-24 gives zeros. ERROR_INPUT for an amax that is negative or not
 * finite and for NaN in x. */
bool fake_e4m3_quant(const float *x, size_t count, float amax, float *y, Error *error);
