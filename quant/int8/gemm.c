#include "quant/int8/gemm.h"

#include <math.h>
#include <stdio.h>

#include "quant/rules/integers.h"

QGemm gemm_operand(const QNode *q, int first, int count, const int order[], Arena *arena) {
    const WeightedIntegers *w = q->integers;
    size_t depth = (size_t)w->depth;
    int8_t *weight = arena_alloc(arena, size_mul((size_t)count, depth));
    int32_t *bias = arena_alloc(arena, sizeof *bias * (size_t)count);
    int32_t *weight_zero = arena_alloc(arena, sizeof *weight_zero * (size_t)count);
    Multiplier *multiplier = arena_alloc(arena, sizeof *multiplier * (size_t)count);
    for (int o = 0; o < count; o++) {
        const int8_t *from = w->weight + (size_t)(first + o) * depth;
        int32_t zero = w->grid.zero_point[w->grid.channels == 1 ? 0 : first + o];
        int32_t sum = 0; /* |sum| * Z_x fits: freezing has proven it */
        for (size_t k = 0; k < depth; k++) {
            weight[(size_t)o * depth + k] = from[order[k]];
            sum += from[k] - zero;
        }
        bias[o] = w->bias[first + o] - quantizer_zero(q->in[0]) * sum;
        weight_zero[o] = zero;
        multiplier[o] = w->multiplier[first + o];
    }
    QGemm gemm = {.outputs = count,
                  .depth = w->depth,
                  .weight = weight,
                  .weight_zero = weight_zero,
                  .bias = bias,
                  .multiplier = multiplier,
                  .zero = quantizer_zero(q->out),
                  .lo = rule_bounds(q).lo,
                  .hi = rule_bounds(q).hi};
    const QGemmKernel *kernel = qgemm_kernel();
    void *packed = arena_alloc(arena, kernel->packed_bytes(&gemm));
    kernel->pack(&gemm, packed);
    gemm.packed = packed;
    return gemm;
}

void gemm_print(const QGemm *gemm, int groups, char *text, size_t size) {
    double least = INFINITY, most = -INFINITY;
    for (int o = 0; o < gemm->outputs; o++) {
        double m = log2(fmax(gemm->multiplier[o].m0, 1)) - gemm->multiplier[o].shift;
        least = fmin(least, m);
        most = fmax(most, m);
    }
    snprintf(text, size, "%d x %d x %d weights, M 2^%.1f to 2^%.1f%s", groups, gemm->outputs,
             gemm->depth, least, most, gemm->lo > 0 || gemm->lo == gemm->zero ? ", relu" : "");
}
