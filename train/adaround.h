/* AdaRound: learns which weights to round up and which down (quant/ptq/adaround.h says to what
 * end). */
#pragma once

#include <stdio.h>

#include "quant/ptq/correct.h"

typedef struct AdaRoundSpec {
    int steps;     /* for each layer, > 0 */
    uint64_t seed; /* of the images in each step */
    FILE *report;  /* a line for each layer; NULL: none */
} AdaRoundSpec;

/* Changes the weights of a calibrated net, layer by layer in execution order. Each layer learns to
 * give the float net's results, relu included, from the inputs that the layers before it, rounded
 * already, make of the images (the asymmetric reconstruction of the paper, eq. 25). Over the images
 * no layer is left with a larger error than the nearest codes give it. Ranges stay; values are
 * rounded afterwards (quant_fake). Holds inputs and results of one layer for all images at once.
 * The same bits at any number of threads. ERROR_INPUT for a value that is NaN or infinite. */
bool adaround(QuantNet *net, ImageSource *images, void *context, const AdaRoundSpec *spec,
              Error *error);
