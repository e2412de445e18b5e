/* What an optimizer works on. Parameters have names: some may stay as they are, some learn at a
 * rate of their own. A pattern is for whole names ("conv1.weight"): in it * stands for any letters
 * and ? for one. */
#pragma once

#include "nn/graph.h"
#include "optim/optim.h"

/* An optimizer of the trainable parameters of a graph, gradients cleared; owned by the arena. */
Optimizer *train_optimizer(const Graph *graph, const OptimizerSpec *spec, Arena *arena);

/* Keeps the parameters that match one of the patterns "conv1.*,*.bias". ERROR_USAGE for a pattern
 * that no trainable parameter matches, and if none is left to train. NULL keeps none. */
bool keep_parameters(Graph *graph, const char *patterns, Error *error);

/* "conv1.*=0.5,*.scale=0.1": the parameters that match learn at so many times the learning rate; of
 * several patterns the last counts. ERROR_USAGE for a pattern that no parameter matches, and for
 * what is no such list. NULL changes nothing. */
bool rate_parameters(const Optimizer *optimizer, const char *rates, Error *error);
