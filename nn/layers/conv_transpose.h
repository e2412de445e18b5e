/* What the transposed convolutions of any rank share: spec, fields, sizes and the map itself. A
 * layer row adds its name and the number of spatial dimensions. */
#pragma once

#include "nn/graph.h"
#include "nn/init.h"

typedef struct ConvTransposeLayerSpec {
    int out;
    ConvTransposeSpec map;
    bool bias;
    int init; /* InitKind */
} ConvTransposeLayerSpec;

extern const Field conv_transpose_fields[];
bool conv_transpose_shape(Node *node, const Shape *const in[], Error *error);
void conv_transpose_init(Node *node, Rng *rng);
Tensor *conv_transpose_forward(const Run *run, const Node *node, Tensor *const in[]);
Tensor *conv_transpose_apply(Tape *tape, const Node *node, Tensor *x, Tensor *w, Tensor *b);
WeightLayout conv_transpose_layout(const Node *node);
