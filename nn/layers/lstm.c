/* lstm: PyTorch's LSTM over a sequence of T steps of F features; gates in the order i f g o.
 * output=all gives T x hidden (twice as wide with two directions), output=last what PyTorch calls
 * h_n of the last layer: where each direction ends. */
#include "nn/layers/recurrent.h"

static bool shape(Node *node, const Shape *const in[], Error *error) {
    return recurrent_shape(node, &lstm_cell, in, error);
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    return recurrent_forward(run, node, &lstm_cell, in[0]);
}

const Layer lstm_layer = {
    .name = "lstm",
    .summary = "long short-term memory over steps x features: hidden= layers= bidirectional= bias= "
               "output=",
    .inputs = 1,
    .spec_size = sizeof(RecurrentLayerSpec),
    .fields = recurrent_fields,
    .shape = shape,
    .init = recurrent_init,
    .places = recurrent_places,
    .forward = forward,
};
