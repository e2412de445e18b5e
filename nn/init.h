/* What a weight starts as: uniform in [-bound, bound]. fan_in counts the inputs of one output,
 * fan_out the outputs that one input reaches. */
#pragma once

#include "autograd/rng.h"
#include "autograd/tensor.h"

/* The words of a layer's `init` field and what they mean:
 * default  PyTorch's own for convolutions and linear layers: bound = 1 / sqrt(fan_in), for the bias
 * too kaiming  He et al. 2015, for ReLU: bound = sqrt(6 / fan_in); bias 0 xavier   Glorot, Bengio
 * 2010: bound = sqrt(6 / (fan_in + fan_out)); bias 0 */
typedef enum InitKind { INIT_DEFAULT, INIT_KAIMING, INIT_XAVIER } InitKind;
extern const char *const init_names[];

void init_weights(InitKind kind, Tensor *weight, Tensor *bias /* or NULL */, int fan_in,
                  int fan_out, Rng *rng);
