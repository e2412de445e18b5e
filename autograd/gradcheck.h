/* Why to believe a backward: the gradient it computes against finite differences of its forward. */
#pragma once

#include "autograd/error.h"
#include "autograd/op.h"

/* Checks every input with needs_grad of every trial of `op`: the analytic gradient of sum(weights *
 * output), with fixed random weights, against a central difference. On failure: the op, trial,
 * input, element and both numbers in *error, and false. */
bool gradcheck(const Op *op, uint64_t seed, Error *error);
