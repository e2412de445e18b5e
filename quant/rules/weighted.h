/* What simulating, learning and freezing weighted layers share. */
#pragma once

#include "quant/rule.h"

/* The weights and bias that the layer computes with: folded, still float. */
typedef struct Folded {
    Tensor *weight; /* outputs first */
    Tensor *bias;   /* NULL: none */
    QParams grid;   /* of the weights: learned, or memoryless, from these very weights (N9) */
} Folded;

/* `batchnorm` is q's own, or a node like it with other statistics; NULL: nothing to fold. */
Folded weighted_fold(Tape *tape, const QNode *q, const Node *batchnorm);

/* The layer's linear map with the folded weights, rounded if q's values are. */
Tensor *weighted_apply(Tape *tape, const QNode *q, Tensor *x, const Folded *folded);

/* The weight scales that learning begins with: those with the least squared error. The published
 * start, 2 mean|w| / sqrt(qmax), fits one width of a bell curve; folded channels are not all bells.
 */
void weighted_start_scale(const QNode *q, float *scale);
