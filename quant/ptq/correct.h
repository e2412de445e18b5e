/* Bias correction (Nagel, van Baalen, Blankevoort, Welling 2019, arXiv 1906.04721, section 4.2 and
 * its empirical form in the appendix): rounding shifts the mean of each channel; the layer's bias
 * takes the shift back. */
#pragma once

#include "quant/quantnet.h"

/* Batch i of some images, x[N, input shape], owned by the tape; NULL behind the last. The same at
 * every call. */
typedef Tensor *ImageSource(void *context, int i, Tape *tape);

/* Changes the biases (the beta of an absorbed batchnorm, where there is one; a layer with neither
 * is left alone) of a calibrated net such that the mean of each channel over the images, before
 * relu, is the float net's. Layer by layer in execution order, each behind those that are corrected
 * already. Ranges stay; values are rounded afterwards (quant_fake). ERROR_INPUT for a value that is
 * NaN or infinite. */
bool quant_correct_biases(QuantNet *net, ImageSource *images, void *context, Error *error);
