/* What the layers of two inputs of one shape share. */
#pragma once

#include "nn/graph.h"

bool pair_shape(Node *node, const Shape *const in[], Error *error);
