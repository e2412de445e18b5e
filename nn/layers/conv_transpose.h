/* What the transposed convolutions of any rank share: spec, fields, sizes and the map itself.
 * Their rows differ in the number of spatial dimensions alone. */
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
size_t conv_transpose_places(const Node *node, const Shape *in);

/* The row of `rank` spatial dimensions. */
#define CONV_TRANSPOSE_LAYER(rank)                                                                 \
    {                                                                                              \
        .name = "conv_transpose" #rank "d",                                                        \
        .summary = "transposed " #rank "-d convolution: out= kernel= stride= padding= "            \
                   "output_padding= dilation= groups= bias= init=",                                \
        .inputs = 1, .spatial = rank, .spec_size = sizeof(ConvTransposeLayerSpec),                 \
        .fields = conv_transpose_fields, .shape = conv_transpose_shape,                            \
        .init = conv_transpose_init, .forward = conv_transpose_forward,                            \
        .apply = conv_transpose_apply, .layout = conv_transpose_layout,                            \
        .places = conv_transpose_places, .rule = "weighted",                                       \
    }
