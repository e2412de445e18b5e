/* The integer matrix product: rows of activation bytes times a matrix of int8 weights, int32 sums,
 * output bytes.
 *
 *     acc[r][o] = bias[o] + sum over k of x[r][k] * (weight[o][k] - weight_zero[o])
 *     y[i][o]   = requantize(max over r of acc[r][o], multiplier[o], zero, lo, hi)
 *                 with r = i * pool .. i * pool + pool - 1
 *
 * An activation code q in qmin .. qmax is stored as the byte u = q - qmin, and its zero point
 * likewise: signed and unsigned codes of 2 to 8 bits are then one case, and q - Z = u - Z_u. The
 * input's zero point is not subtracted from each x; it is in the bias:
 *
 *     sum((x - Z_x) w) + q_b  =  sum(x w) + (q_b - Z_x sum(w))
 *
 * A max-pool behind a convolution is taken of its sums (pool > 1): a larger sum never has a smaller
 * code, so it is the max-pool of the codes, with fewer of them to make.
 *
 * All kernels give the same bytes. No product saturates (AVX2's multiply-add of bytes would, at 16
 * bits), and sums wrap at 32 bits: when the whole sum fits, as quant_freeze proves, it is exact,
 * even if a part of it, or the bias, does not fit. */
#pragma once

#include "quant/fixedpoint.h"

#include <stddef.h>

typedef struct QGemmKernel QGemmKernel;

typedef struct QGemm {
    int outputs;                  /* >= 0 */
    int runs, run;                /* a row is `runs` runs of `run` bytes, both >= 0 */
    const int8_t *weight;         /* [outputs][runs * run] */
    const int32_t *weight_zero;   /* [outputs], -128 .. 127; NULL: 0, symmetric weights */
    const int32_t *bias;          /* [outputs], q_b - Z_x sum(w) */
    const Multiplier *multiplier; /* [outputs] */
    int32_t zero, lo, hi;         /* of the output, as bytes: 0 .. 255, lo <= hi */
    const QGemmKernel *kernel;    /* for the caller's use: the one that packed it */
    const void *packed;           /* what the kernel's pack wrote: packed_bytes, aligned to 64 */
} QGemm;

/* Where rows lie: row r's run j begins at element row[r] + run[j] of x. So a patch of an image is a
 * row that is copied nowhere. An element is a byte, or, if the kernel says so, a 16-bit number that
 * holds it. */
typedef struct QRows {
    const void *x; /* QGEMM_SLACK elements behind a run may be read; no result depends on them */
    const size_t *row; /* [rows] */
    const size_t *run; /* [runs] */
} QRows;
enum { QGEMM_SLACK = 3, QGEMM_MAX_POOL = 16 };

/* All memory is the caller's. The kernel reads exactly the arrays' elements, slack apart, and
 * writes exactly the results, nothing between a row's end and the next row. Calls on one QGemm are
 * independent: run it from as many threads as there are. */
struct QGemmKernel {
    const char *name;
    size_t element;               /* bytes of an element of x: 1 or 2 */
    bool (*usable)(void);         /* on this processor */
    bool (*fits)(const QGemm *q); /* whether it is exact, and made, for these weights */

    /* The weights in this kernel's own order, made once, from all of *q but q->packed. The arrays
     * of *q must outlive it: a kernel may read them instead. */
    size_t (*packed_bytes)(const QGemm *q);
    void (*pack)(const QGemm *q, void *packed);

    /* rows, a multiple of pool -> y[rows / pool][outputs], y_stride bytes apart.
     * 1 <= pool <= QGEMM_MAX_POOL. */
    void (*run)(const QGemm *q, const QRows *x, int rows, int pool, uint8_t *y, size_t y_stride);
    /* The sums alone: acc[rows][outputs], rows acc_stride elements apart. */
    void (*accumulate)(const QGemm *q, const QRows *x, int rows, int32_t *acc, size_t acc_stride);
};

/* In order of preference, NULL at the end; the last, qgemm_scalar, is the definition. */
extern const QGemmKernel *const qgemm_kernels[];
extern const QGemmKernel qgemm_vnni, qgemm_narrow_avx2, qgemm_avx2, qgemm_scalar;

/* The first of the list that this processor can run and that is exact for each of q[count]. Names
 * in the environment's STAIR_WITHOUT are passed over: to measure one kernel against another. */
const QGemmKernel *qgemm_kernel(const QGemm q[], int count);
