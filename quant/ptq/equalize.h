/* Cross-layer equalization (Nagel, van Baalen, Blankevoort, Welling 2019, arXiv 1906.04721,
 * section 4.1): weights are moved between layers so that no channel of a layer is much smaller than
 * its neighbours, and none loses its few codes to them. */
#pragma once

#include "nn/graph.h"

/* Rescales the parameters of a float net in place. Its function stays what it was, up to rounding.
 * Returns how many pairs of layers were equalized; 0: the net has none, and is as before. */
int quant_equalize(Graph *graph);
