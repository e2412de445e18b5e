/* The integer sum in plain C: the definition, which the other kernels equal. */
#include "quant/kernels/qadd.h"

static void scalar_run(const QAdd *q, size_t count, const uint8_t *const *x, uint8_t *y) {
    for (size_t i = 0; i < count; i++) {
        int64_t sum = 0;
        for (int k = 0; k < q->inputs; k++) sum += (int64_t)q->m0[k] * (x[k][i] - q->in_zero[k]);
        y[i] = (uint8_t)clamp_code(q->zero + round_shift(sum, q->shift), q->lo, q->hi);
    }
}

static bool always(void) {
    return true;
}

const QAddKernel qadd_scalar = {.name = "scalar", .usable = always, .run = scalar_run};
