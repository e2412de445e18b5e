/* The integer sum of values of different scales, byte by byte:
 *
 *     y[i] = clamp(zero + floor((sum over k of m0[k] (x[k][i] - in_zero[k])) / 2^shift + 1/2),
 *                  lo, hi)
 *
 * in 64 bits, where it is exact: a product is below 2^39. Bytes and zero points are as in
 * qgemm.h. */
#pragma once

#include "quant/fixedpoint.h"

#include <stddef.h>

enum { QADD_MAX_INPUTS = 8 };

typedef struct QAdd {
    int inputs;                       /* 1 .. QADD_MAX_INPUTS */
    int32_t m0[QADD_MAX_INPUTS];      /* 0 .. 2^31 - 1 */
    int32_t in_zero[QADD_MAX_INPUTS]; /* 0 .. 255 */
    int32_t shift;                    /* 1 .. 62 */
    int32_t zero, lo, hi;             /* of the output: 0 .. 255, lo <= hi */
} QAdd;

typedef struct QAddKernel {
    const char *name;
    bool (*usable)(void); /* on this processor */
    void (*run)(const QAdd *q, size_t count, const uint8_t *const *x, uint8_t *y);
} QAddKernel;

/* In order of preference, NULL at the end; the last, qadd_scalar, is the definition. */
extern const QAddKernel *const qadd_kernels[];
extern const QAddKernel qadd_avx2, qadd_scalar;

/* The first of the list that this processor can run. */
const QAddKernel *qadd_kernel(void);
