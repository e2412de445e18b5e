/* What the convolutions of any rank share: spec, fields, sizes and the map itself. A layer row adds
 * its name and the number of spatial dimensions. */
#pragma once

#include "nn/graph.h"
#include "nn/init.h"

typedef struct ConvLayerSpec {
    int out;
    Window window;
    int groups;
    bool bias;
    int init; /* InitKind */
} ConvLayerSpec;

extern const Field conv_fields[];
bool conv_shape(Node *node, const Shape *const in[], Error *error);
void conv_init(Node *node, Rng *rng);
Tensor *conv_forward(const Run *run, const Node *node, Tensor *const in[]);
Tensor *conv_forward_tail(const Run *run, const Node *node, Tensor *const in[], const Tail *tail);
Tensor *conv_apply(Tape *tape, const Node *node, Tensor *x, Tensor *w, Tensor *b);
