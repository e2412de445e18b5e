/* Where a run went wrong: what is NaN or infinite, by name. */
#pragma once

#include "nn/graph.h"
#include "optim/optim.h"

/* The first node whose value is not finite, of value[graph->nodes]; the loss, if all are. */
const char *bad_value(const Graph *graph, Tensor *const value[]);
/* The first parameter whose gradient is not finite; NULL if all are. */
const char *bad_gradient(const Optimizer *optimizer);
/* The first parameter that is not finite itself; NULL if all are. A relu or a batch's own
 * statistics can hide one from the loss, and a file with one would be refused. Owned by the arena.
 */
const char *bad_parameter(const Graph *graph, Arena *arena);
