/* The integer depthwise convolution: each channel meets its own small kernel and no other channel.
 *
 *     acc[p][c] = bias[c] + sum over t of x[p][t][c] * (weight[c][t] - weight_zero[c])
 *     y[p][c]   = requantize(acc[p][c], multiplier[c], zero, lo, hi)
 *
 * A tap t is one place of the kernel. x[p][t] points to the channels of the input place that tap t
 * meets at output place p, or, in the padding, to as many bytes of the input's zero point: shape,
 * stride, dilation and padding are all in the pointers, and no byte is copied. Bytes, zero points
 * and sums are as in qgemm.h. */
#pragma once

#include "quant/fixedpoint.h"

#include <stddef.h>

typedef struct QDepthwise {
    int channels, taps;           /* >= 0 */
    const int8_t *weight;         /* [channels][taps] */
    const int32_t *weight_zero;   /* [channels], subtracted from each weight; NULL: 0 */
    const int32_t *bias;          /* [channels], q_b - Z_x sum(w) */
    const Multiplier *multiplier; /* [channels] */
    int32_t zero, lo, hi;         /* of the output, as bytes: 0 .. 255, lo <= hi */
    const void *packed;           /* what the kernel's pack wrote: packed_bytes, aligned to 64 */
} QDepthwise;

/* The rules of QGemmKernel. */
typedef struct QDepthwiseKernel {
    const char *name;
    bool (*usable)(void);
    size_t (*packed_bytes)(const QDepthwise *q);
    void (*pack)(const QDepthwise *q, void *packed);
    /* x[places][taps] -> channels bytes each; y[places][channels], y_stride bytes apart. */
    void (*run)(const QDepthwise *q, int places, const uint8_t *const *x, uint8_t *y,
                size_t y_stride);
} QDepthwiseKernel;

/* In order of preference, NULL at the end; the last, qdepthwise_scalar, is the definition. */
extern const QDepthwiseKernel *const qdepthwise_kernels[];
extern const QDepthwiseKernel qdepthwise_avx2, qdepthwise_scalar;

/* The first of the list that this processor can run. */
const QDepthwiseKernel *qdepthwise_kernel(void);
