/* The integer matrix product in plain C: the definition, which the other kernels equal. */
#include "quant/kernels/qgemm.h"

/* One sum over a row x[depth]; unsigned, since signed arithmetic must not wrap. */
static int32_t sum_of(const QGemm *q, int output, const uint8_t *x) {
    const int8_t *w = q->weight + (size_t)output * (size_t)q->depth;
    int32_t zero = q->weight_zero ? q->weight_zero[output] : 0;
    uint32_t acc = (uint32_t)q->bias[output];
    for (int k = 0; k < q->depth; k++) acc += (uint32_t)(x[k] * (w[k] - zero));
    return (int32_t)acc;
}

static void scalar_run(const QGemm *q, int rows, const uint8_t *x, size_t x_stride, uint8_t *y,
                       size_t y_stride, void *scratch) {
    (void)scratch;
    for (int r = 0; r < rows; r++, x += x_stride, y += y_stride)
        for (int o = 0; o < q->outputs; o++)
            y[o] = (uint8_t)requantize(sum_of(q, o, x), q->multiplier[o], q->zero, q->lo, q->hi);
}

static void scalar_accumulate(const QGemm *q, int rows, const uint8_t *x, size_t x_stride,
                              int32_t *acc, size_t acc_stride, void *scratch) {
    (void)scratch;
    for (int r = 0; r < rows; r++, x += x_stride, acc += acc_stride)
        for (int o = 0; o < q->outputs; o++) acc[o] = sum_of(q, o, x);
}

static bool always(void) {
    return true;
}
static size_t no_bytes(const QGemm *q) {
    return (void)q, (size_t)0;
}
static void pack_nothing(const QGemm *q, void *packed) {
    (void)q, (void)packed;
}

const QGemmKernel qgemm_scalar = {
    .name = "scalar",
    .usable = always,
    .packed_bytes = no_bytes,
    .pack = pack_nothing,
    .scratch_bytes = no_bytes,
    .run = scalar_run,
    .accumulate = scalar_accumulate,
};
