/* The integer depthwise convolution in plain C: the definition, which the other kernels equal. */
#include "quant/kernels/qdepthwise.h"

/* One sum of channel c over x[taps]; unsigned, since signed arithmetic must not wrap. */
static int32_t sum_of(const QDepthwise *q, int c, const uint8_t *const *x) {
    const int8_t *w = q->weight + (size_t)c * (size_t)q->taps;
    uint32_t acc = (uint32_t)q->bias[c];
    int32_t zero = q->weight_zero ? q->weight_zero[c] : 0;
    for (int t = 0; t < q->taps; t++) acc += (uint32_t)(x[t][c] * (w[t] - zero));
    return (int32_t)acc;
}

static void scalar_run(const QDepthwise *q, int places, const uint8_t *const *x, uint8_t *y,
                       size_t y_stride) {
    for (int p = 0; p < places; p++, x += q->taps, y += y_stride)
        for (int c = 0; c < q->channels; c++)
            y[c] = (uint8_t)requantize(sum_of(q, c, x), q->multiplier[c], q->zero, q->lo, q->hi);
}

static bool always(void) {
    return true;
}
static size_t no_bytes(const QDepthwise *q) {
    return (void)q, (size_t)0;
}
static void pack_nothing(const QDepthwise *q, void *packed) {
    (void)q, (void)packed;
}

const QDepthwiseKernel qdepthwise_scalar = {
    .name = "scalar",
    .usable = always,
    .packed_bytes = no_bytes,
    .pack = pack_nothing,
    .run = scalar_run,
};
