/* What the instructions with weights share: a frozen node's integers as operands of the integer
 * matrix product. */
#pragma once

#include "quant/kernels/qgemm.h"
#include "quant/program.h"

/* The product of outputs first .. first+count-1 of a weighted node. `order[k]` names the weight (of
 * the layer's layout) that meets byte k of a row. All memory is the arena's. */
QGemm gemm_operand(const QNode *q, int first, int count, const int order[], Arena *arena);
/* "40 outputs x 360, M 2^-8.1 .. 2^-6.9": for listings. */
void gemm_print(const QGemm *gemm, int groups, char *text, size_t size);
