/* Parameters that stay as they are while the others train. */
#pragma once

#include "nn/graph.h"

/* Keeps the parameters whose names ("conv1.weight") match one of the patterns "conv1.*,*.bias", in
 * which * stands for any letters and ? for one. ERROR_USAGE for a pattern that no trainable
 * parameter matches, and if none is left to train. NULL keeps none. */
bool keep_parameters(Graph *graph, const char *patterns, Error *error);
