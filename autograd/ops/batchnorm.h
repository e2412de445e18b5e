/* What batchnorm.c and its trials (batchnorm_trials.c) both know. */
#pragma once

#include "autograd/op.h"

/* Inputs: x, gamma, beta, the tail's addend, s; the last two may be NULL. */
enum { ADDEND = 3, DIVISOR, INPUTS };

/* Rows of the op (op.h). */
enum { BATCHNORM_TRIALS = 10 };
void batchnorm_sample(Arena *arena, Rng *rng, int trial, Sample *sample);
Tensor *batchnorm_trial(Tape *tape, const Sample *sample);
