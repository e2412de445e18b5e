/* What the pools share: spec, fields, sizes. */
#pragma once

#include "nn/graph.h"

typedef struct PoolSpec {
    Window window;
} PoolSpec;

extern const Field pool_fields[];    /* kernel stride padding */
extern const Field maxpool_fields[]; /* the same and dilation */
bool pool_shape(Node *node, const Shape *const in[], Error *error);
