/* Learn: ranges as parameters. What is learned is always the scale S, under the name it has anyway
 * ("conv1.weight_fake_quant.scale", "conv1.activation_post_process.scale"); the run's optimizer
 * moves it.
 *
 *   lsq   scales of activations and of weights, by the error they make (Esser et al. 2020)
 *   pact  the upper end alpha = S qmax of activations, by what it clips, with decay (Choi et al.
 * 2018)
 *
 * Zero points stay what calibration made them, 0 behind a relu; elsewhere both ends of a range keep
 * their proportion. Those of affine weights are chosen with the scales that learning begins with.
 * The net's input is not learned: pixels are bytes. */
#pragma once

#include "quant/fakequant.h"

typedef struct Learn {
    const char *name; /* as in --learn-ranges */
    bool activations, weights;
    bool clips; /* the mask of activations is that of a clip, whatever the estimator */
    ScaleGradient gradient;
} Learn;

extern const Learn learn_list[]; /* the first is "none"; ends with a NULL name */
const Learn *learn_find(const char *name);
const char *learn_name(int index); /* NULL past the last */
