/* What the layers of one value's function share. */
#pragma once

#include "nn/graph.h"

bool pointwise_shape(Node *node, const Shape *const in[], Error *error);
