/* What the convolutions of any rank share: spec, fields, sizes and the map itself. Their rows
 * differ in the number of spatial dimensions alone. */
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
bool conv_reads_later(const Run *run, const Node *node, Tensor *const in[], Tail *tail);
Tensor *conv_apply(Tape *tape, const Node *node, Tensor *x, Tensor *w, Tensor *b);
size_t conv_places(const Node *node, const Shape *in);

/* The row of `rank` spatial dimensions. */
#define CONV_LAYER(rank)                                                                           \
    {                                                                                              \
        .name = "conv" #rank "d",                                                                  \
        .summary =                                                                                 \
            #rank "-d convolution: out= kernel= stride= padding= dilation= groups= bias= init=",   \
        .inputs = 1, .spatial = rank, .spec_size = sizeof(ConvLayerSpec), .fields = conv_fields,   \
        .shape = conv_shape, .init = conv_init, .forward = conv_forward,                           \
        .forward_tail = conv_forward_tail, .tail = conv_reads_later, .apply = conv_apply,          \
        .places = conv_places, .rule = "weighted",                                                 \
    }
