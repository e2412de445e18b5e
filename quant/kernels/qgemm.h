/* The integer matrix product: rows of activation bytes times a matrix of int8 weights, int32 sums,
 * output bytes.
 *
 *     acc[r][o] = bias[o] + sum over k of x[r][k] * (weight[o][k] - weight_zero[o])
 *     y[r][o]   = requantize(acc[r][o], multiplier[o], zero, lo, hi)
 *
 * An activation code q in qmin .. qmax is stored as the byte u = q - qmin, and its zero point
 * likewise: signed and unsigned codes of 2 to 8 bits are then one case, and q - Z = u - Z_u. The
 * input's zero point is not subtracted from each x; it is in the bias:
 *
 *     sum((x - Z_x) w) + q_b  =  sum(x w) + (q_b - Z_x sum(w))
 *
 * All kernels give the same bytes. No product saturates (AVX2's multiply-add of bytes would, at 16
 * bits), and sums wrap at 32 bits: when the whole sum fits, as quant_freeze proves, it is exact,
 * even if a part of it, or the bias, does not fit. */
#pragma once

#include "quant/fixedpoint.h"

#include <stddef.h>

typedef struct QGemm {
    int outputs, depth;           /* >= 0 */
    const int8_t *weight;         /* [outputs][depth] */
    const int32_t *weight_zero;   /* [outputs], -128 .. 127; NULL: 0, symmetric weights */
    const int32_t *bias;          /* [outputs], q_b - Z_x sum(w) */
    const Multiplier *multiplier; /* [outputs] */
    int32_t zero, lo, hi;         /* of the output, as bytes: 0 .. 255, lo <= hi */
    const void *packed;           /* what the kernel's pack wrote: packed_bytes, aligned to 64 */
} QGemm;

/* All memory is the caller's. The kernel reads exactly the arrays' elements and writes exactly the
 * results, nothing between a row's end and the next row. Distinct scratch makes calls on one QGemm
 * independent: run it from as many threads as there are. */
typedef struct QGemmKernel {
    const char *name;
    bool (*usable)(void); /* on this processor */

    /* The weights in this kernel's own order, made once, from all of *q but q->packed. The arrays
     * of *q must outlive it: a kernel may read them instead. */
    size_t (*packed_bytes)(const QGemm *q);
    void (*pack)(const QGemm *q, void *packed);

    size_t (*scratch_bytes)(const QGemm *q); /* for one call, whatever its rows; aligned to 64 */
    /* x[rows][depth] -> y[rows][outputs], rows x_stride and y_stride bytes apart. */
    void (*run)(const QGemm *q, int rows, const uint8_t *x, size_t x_stride, uint8_t *y,
                size_t y_stride, void *scratch);
    /* The sums alone: acc[rows][outputs], rows acc_stride elements apart. */
    void (*accumulate)(const QGemm *q, int rows, const uint8_t *x, size_t x_stride, int32_t *acc,
                       size_t acc_stride, void *scratch);
} QGemmKernel;

/* In order of preference, NULL at the end; the last, qgemm_scalar, is the definition. */
extern const QGemmKernel *const qgemm_kernels[];
extern const QGemmKernel qgemm_avx2, qgemm_scalar;

/* The first of the list that this processor can run. */
const QGemmKernel *qgemm_kernel(void);
