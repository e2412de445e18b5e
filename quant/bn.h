/* BnMode: which statistics normalise while a weighted layer with an absorbed batchnorm is
 * fine-tuned. Evaluation and freezing always fold the running ones (N10): a mode only decides how a
 * net gets there.
 *
 *   frozen   folds the running statistics, which stay as they are: the very arithmetic that ships,
 *            bias rounding included
 *   running  folds them into the weights, normalises the result with the batch's; they follow
 *            (PyTorch's ConvBn2d of torch.nn.intrinsic.qat; Krishnamoorthi 2018, 3.2.2)
 *   batch    folds the batch's statistics, as constants; the running ones follow (seed 000)
 *
 * running, with s = gamma / sqrt(running_var + eps), is one convolution:
 *
 *     u = apply(x, FQ(s W)) / s + b        y = gamma (u - mean(u)) / sqrt(var(u) + eps) + beta
 *
 * u is what the float net normalises, but for the rounding of weights. s = 0 would leave nothing to
 * divide: a |gamma| below 2^-20 counts as 1 in s, so that u is sound, and y is beta as it has to
 * be.
 *
 * To add a mode: a row in quant/bn.c. */
#pragma once

#include "quant/rule.h"

struct BnMode {
    const char *name; /* as in --bn */
    /* The weighted node's value before its relu; q->batchnorm is not NULL. */
    Tensor *(*simulate)(const Run *run, const QNode *q, Tensor *x);
};

extern const BnMode bn_mode_list[]; /* the first is "frozen"; ends with a NULL name */
const BnMode *bn_mode_find(const char *name);
const char *bn_mode_name(int index); /* NULL past the last */
