/* What the instructions with weights share: a frozen node's integers as operands of the integer
 * matrix product. */
#pragma once

#include "quant/kernels/qdepthwise.h"
#include "quant/kernels/qgemm.h"
#include "quant/program.h"

/* The products of a weighted node, one a group, each of as many outputs; they share a kernel.
 * `order[k]` names the weight (of the layer's layout) that meets byte k of a row, which is `runs`
 * runs. All memory is the arena's. */
const QGemm *gemm_operands(const QNode *q, int groups, int runs, const int order[], Arena *arena);
/* Packs a product that stands alone, with the kernel that serves it best. */
void gemm_pack(QGemm *gemm, Arena *arena);
/* The same product for rows of one run whose bytes come in another order: what was byte k of a row
 * is byte from[k]. */
const QGemm *gemm_permuted(const QGemm *gemm, const int from[], Arena *arena);

extern const InstrKind linear_instr; /* its args are a QGemm of one run */

/* "40 outputs x 360, M 2^-8.1 .. 2^-6.9": for listings. */
void gemm_print(const QGemm *gemm, int groups, char *text, size_t size);

/* The operand of a layer each of whose outputs meets one channel, at `taps` places. */
const QDepthwise *depthwise_operand(const QNode *q, int taps, const int order[], Arena *arena);

/* Bytes as elements of 1 or 2 bytes (QGemmKernel.element). */
void gemm_elements(size_t element, const uint8_t *x, size_t count, void *to);

/* Rows that lie side by side, one run each: x[rows][run] -> y[rows][outputs], y_stride bytes apart.
 * QGEMM_SLACK bytes behind x may be read. rows <= DENSE_ROWS. scratch: gemm_dense_scratch bytes,
 * aligned to 64. */
enum { DENSE_ROWS = 64 };
size_t gemm_dense_scratch(const QGemm *gemm);
void gemm_dense(const QGemm *gemm, int rows, const uint8_t *x, uint8_t *y, size_t y_stride,
                void *scratch);
/* Their sums alone: acc[rows][outputs]. */
void gemm_dense_sums(const QGemm *gemm, int rows, const uint8_t *x, int32_t *acc, void *scratch);
