/* What the pools share: spec, fields, sizes. */
#pragma once

#include "nn/graph.h"

typedef struct PoolSpec {
    Window window;
    bool count_include_pad; /* of means: padding is values of 0, else no values */
} PoolSpec;

extern const Field avgpool_fields[]; /* kernel stride padding count_include_pad */
extern const Field maxpool_fields[]; /* kernel stride padding dilation */
bool pool_shape(Node *node, const Shape *const in[], Error *error);

/* Does each mean divide by all places of the window? */
bool pool_divides_evenly(const PoolSpec *spec);
/* What the mean at a position of the result divides by, of an input of that shape. */
int pool_divisor(const Node *node, const Shape *in, int position);
