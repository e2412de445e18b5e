/* What lstm and gru share: all but their cell. PyTorch's LSTM and GRU, batch_first. */
#pragma once

#include "nn/graph.h"

typedef struct RecurrentLayerSpec {
    int hidden, layers;
    bool bidirectional, bias;
    int output; /* index of recurrent_outputs */
    int reset;  /* of gru: a RecurrentReset */
} RecurrentLayerSpec;

/* Where a gru's reset gate multiplies: what the matrix makes of the state, or the state. */
typedef enum RecurrentReset { RESET_AFTER, RESET_BEFORE } RecurrentReset;

extern const Field recurrent_fields[], gru_fields[];

bool recurrent_shape(Node *node, const Cell *cell, const Shape *const in[], Error *error);
void recurrent_init(Node *node, Rng *rng);
size_t recurrent_places(const Node *node, const Shape *in);
Tensor *recurrent_forward(const Run *run, const Node *node, const Cell *cell, Tensor *x);
