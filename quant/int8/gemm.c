#include "quant/int8/gemm.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "quant/rules/integers.h"

/* The product of outputs first .. first+count-1, not packed. */
static QGemm operand(const QNode *q, int first, int count, int runs, const int order[],
                     Arena *arena) {
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
    return (QGemm){.outputs = count,
                   .runs = runs,
                   .run = w->depth / runs,
                   .weight = weight,
                   .weight_zero = weight_zero,
                   .bias = bias,
                   .multiplier = multiplier,
                   .zero = quantizer_zero(q->out),
                   .lo = rule_bounds(q).lo,
                   .hi = rule_bounds(q).hi};
}

static void pack(QGemm *gemm, const QGemmKernel *kernel, Arena *arena) {
    void *packed = arena_alloc(arena, kernel->packed_bytes(gemm));
    kernel->pack(gemm, packed);
    gemm->kernel = kernel;
    gemm->packed = packed;
}

void gemm_pack(QGemm *gemm, Arena *arena) {
    pack(gemm, qgemm_kernel(gemm, 1), arena);
}

const QGemm *gemm_operands(const QNode *q, int groups, int runs, const int order[], Arena *arena) {
    const WeightedIntegers *w = q->integers;
    int outputs = w->outputs / groups;
    QGemm *gemm = arena_alloc(arena, sizeof *gemm * (size_t)groups);
    for (int g = 0; g < groups; g++) gemm[g] = operand(q, g * outputs, outputs, runs, order, arena);
    const QGemmKernel *kernel = qgemm_kernel(gemm, groups);
    for (int g = 0; g < groups; g++) pack(&gemm[g], kernel, arena);
    return gemm;
}

const QGemm *gemm_permuted(const QGemm *gemm, const int from[], Arena *arena) {
    size_t run = (size_t)gemm->run;
    int8_t *weight = arena_alloc(arena, size_mul((size_t)gemm->outputs, run));
    QGemm *permuted = arena_alloc(arena, sizeof *permuted);
    for (size_t o = 0; o < (size_t)gemm->outputs; o++)
        for (size_t k = 0; k < run; k++)
            weight[o * run + (size_t)from[k]] = gemm->weight[o * run + k];
    *permuted = *gemm;
    permuted->weight = weight;
    pack(permuted, gemm->kernel, arena);
    return permuted;
}

const QDepthwise *depthwise_operand(const QNode *q, int taps, const int order[], Arena *arena) {
    QGemm gemm =
        operand(q, 0, ((const WeightedIntegers *)q->integers)->outputs, taps, order, arena);
    QDepthwise *depthwise = arena_alloc(arena, sizeof *depthwise);
    *depthwise = (QDepthwise){.channels = gemm.outputs,
                              .taps = taps,
                              .weight = gemm.weight,
                              .weight_zero = gemm.weight_zero,
                              .bias = gemm.bias,
                              .multiplier = gemm.multiplier,
                              .zero = gemm.zero,
                              .lo = gemm.lo,
                              .hi = gemm.hi};
    const QDepthwiseKernel *kernel = qdepthwise_kernel();
    void *packed = arena_alloc(arena, kernel->packed_bytes(depthwise));
    kernel->pack(depthwise, packed);
    depthwise->packed = packed;
    return depthwise;
}

void gemm_elements(size_t element, const uint8_t *x, size_t count, void *to) {
    if (element == 1) {
        memcpy(to, x, count);
        return;
    }
    uint16_t *wide = to;
    for (size_t i = 0; i < count; i++) wide[i] = x[i];
}

/* scratch: where the rows begin, then, if they must be widened, they */
size_t gemm_dense_scratch(const QGemm *gemm) {
    size_t elements = (size_t)DENSE_ROWS * (size_t)gemm->run + QGEMM_SLACK;
    return DENSE_ROWS * sizeof(size_t) +
           (gemm->kernel->element > 1 ? elements * gemm->kernel->element : 0);
}

static const size_t at_once[] = {0}; /* the one run of a dense row */

static QRows dense_rows(const QGemm *gemm, int rows, const uint8_t *x, void *scratch) {
    size_t *row = scratch, run = (size_t)gemm->run;
    for (int r = 0; r < rows; r++) row[r] = (size_t)r * run;
    const void *elements = x;
    if (gemm->kernel->element > 1) {
        gemm_elements(gemm->kernel->element, x, (size_t)rows * run, row + DENSE_ROWS);
        elements = row + DENSE_ROWS;
    }
    return (QRows){elements, row, at_once};
}

void gemm_dense(const QGemm *gemm, int rows, const uint8_t *x, uint8_t *y, size_t y_stride,
                void *scratch) {
    QRows at = dense_rows(gemm, rows, x, scratch);
    gemm->kernel->run(gemm, &at, rows, 1, y, y_stride);
}

void gemm_dense_sums(const QGemm *gemm, int rows, const uint8_t *x, int32_t *acc, void *scratch) {
    QRows at = dense_rows(gemm, rows, x, scratch);
    gemm->kernel->accumulate(gemm, &at, rows, acc, (size_t)gemm->outputs);
}

void gemm_print(const QGemm *gemm, int groups, char *text, size_t size) {
    double least = INFINITY, most = -INFINITY;
    for (int o = 0; o < gemm->outputs; o++) {
        double m = log2(fmax(gemm->multiplier[o].m0, 1)) - gemm->multiplier[o].shift;
        least = fmin(least, m);
        most = fmax(most, m);
    }
    snprintf(text, size, "%d x %d x %d weights, M 2^%.1f to 2^%.1f%s", groups, gemm->outputs,
             gemm->runs * gemm->run, least, most,
             gemm->lo > 0 || gemm->lo == gemm->zero ? ", relu" : "");
}
