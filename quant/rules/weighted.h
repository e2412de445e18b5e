/* What simulating, learning and freezing weighted layers share. */
#pragma once

#include "quant/rule.h"

/* The weights and bias that the layer computes with: folded, still float. */
typedef struct Folded {
    Tensor *weight; /* outputs first */
    Tensor *bias;   /* NULL: none */
    QParams grid;   /* of the weights: learned, or memoryless, from these very weights (N9) */
} Folded;

/* The codes of the weights, which int8 holds: unsigned ones are those of the signed grid moved by
 * 2^(b-1), zero point and all, and stand for the same reals. No scale is set. */
QParams weight_codes(Arena *arena, const QNode *q, int outputs);

/* N3 and N9 for weights: the range of each channel, or what was learned; no scale so small that the
 * bias's code would not fit. A dead channel is its bias, and gets the scale that holds it best.
 * w[outputs, depth], bias[outputs] or NULL, both folded. */
QParams weight_grid(Arena *arena, const QNode *q, const Tensor *w, const Tensor *bias);

/* `batchnorm` is q's own, or a node like it with other statistics; NULL: nothing to fold. */
Folded weighted_fold(Tape *tape, const QNode *q, const Node *batchnorm);

/* The layer's linear map with the folded weights, rounded if q's values are. */
Tensor *weighted_apply(Tape *tape, const QNode *q, Tensor *x, const Folded *folded);

/* The grids that learning begins with, scale[channels] and, of affine weights, zero[channels] (else
 * NULL): those with the least squared error. The published start, 2 mean|w| / sqrt(qmax), fits one
 * width of a bell curve; folded channels are not all bells. */
void weighted_start_grid(const QNode *q, float *scale, int32_t *zero);
