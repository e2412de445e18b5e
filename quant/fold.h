/* Folding a batch normalisation into the linear map before it (N10):
 *     gamma (W x + b - mean) / sqrt(var + eps) + beta  =  (s W) x + s (b - mean) + beta,
 *     s = gamma / sqrt(var + eps)
 * with running statistics, by one function, whether it is for training, evaluation or freezing.
 * Nothing divides by gamma: gamma = 0 and var = 0 stay finite. */
#pragma once

#include "autograd/op.h"
#include "nn/graph.h"

/* s W for w[O, ...]; differentiable in w and in the node's gamma. */
Tensor *op_fold_weight(Tape *tape, Tensor *w, const Node *batchnorm);
/* s (b - mean) + beta, [O]; b may be NULL, which is 0; differentiable in b, gamma and beta. */
Tensor *op_fold_bias(Tape *tape, Tensor *b, const Node *batchnorm);

extern const Op fold_weight_op, fold_bias_op;
