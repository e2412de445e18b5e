/* gru: PyTorch's GRU over a sequence of T steps of F features; gates in the order r z n, b_hn
 * inside the reset: reset=after the matrix. reset=before is the paper's, which is ONNX's default
 * and what Keras has with reset_after=False. output=all gives T x hidden (twice as wide with two
 * directions), output=last what PyTorch calls h_n of the last layer: where each direction ends. */
#include "nn/layers/recurrent.h"

static const Cell *cell_of(const Node *node) {
    bool before = ((const RecurrentLayerSpec *)node->spec)->reset == RESET_BEFORE;
    return before ? &gru_before_cell : &gru_cell;
}

static bool shape(Node *node, const Shape *const in[], Error *error) {
    return recurrent_shape(node, cell_of(node), in, error);
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    return recurrent_forward(run, node, cell_of(node), in[0]);
}

const Layer gru_layer = {
    .name = "gru",
    .summary = "gated recurrent unit over steps x features: hidden= layers= bidirectional= bias= "
               "output= reset=",
    .inputs = 1,
    .spec_size = sizeof(RecurrentLayerSpec),
    .fields = gru_fields,
    .shape = shape,
    .init = recurrent_init,
    .places = recurrent_places,
    .forward = forward,
};
