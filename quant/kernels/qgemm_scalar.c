/* The integer matrix product in plain C: the definition, which the other kernels equal. */
#include "quant/kernels/qgemm.h"

/* One sum over row r; unsigned, since signed arithmetic must not wrap. */
static int32_t sum_of(const QGemm *q, int output, const QRows *x, int r) {
    const uint8_t *row = (const uint8_t *)x->x + x->row[r];
    const int8_t *w = q->weight + (size_t)output * (size_t)q->runs * (size_t)q->run;
    int32_t zero = q->weight_zero ? q->weight_zero[output] : 0;
    uint32_t acc = (uint32_t)q->bias[output];
    for (int j = 0; j < q->runs; j++)
        for (int k = 0; k < q->run; k++)
            acc += (uint32_t)(row[x->run[j] + (size_t)k] * (*w++ - zero));
    return (int32_t)acc;
}

static void scalar_run(const QGemm *q, const QRows *x, int rows, int pool, uint8_t *y,
                       size_t y_stride) {
    for (int r = 0; r < rows; r += pool, y += y_stride)
        for (int o = 0; o < q->outputs; o++) {
            int32_t most = sum_of(q, o, x, r);
            for (int i = 1; i < pool; i++) {
                int32_t acc = sum_of(q, o, x, r + i);
                most = acc > most ? acc : most;
            }
            y[o] = (uint8_t)requantize(most, q->multiplier[o], q->zero, q->lo, q->hi);
        }
}

static void scalar_accumulate(const QGemm *q, const QRows *x, int rows, int32_t *acc,
                              size_t acc_stride) {
    for (int r = 0; r < rows; r++, acc += acc_stride)
        for (int o = 0; o < q->outputs; o++) acc[o] = sum_of(q, o, x, r);
}

static bool always(void) {
    return true;
}
static bool fits_all(const QGemm *q) {
    return (void)q, true;
}
static size_t no_bytes(const QGemm *q) {
    return (void)q, (size_t)0;
}
static void pack_nothing(const QGemm *q, void *packed) {
    (void)q, (void)packed;
}

const QGemmKernel qgemm_scalar = {
    .name = "scalar",
    .element = 1,
    .usable = always,
    .fits = fits_all,
    .packed_bytes = no_bytes,
    .pack = pack_nothing,
    .run = scalar_run,
    .accumulate = scalar_accumulate,
};
