/* mul: two inputs of one shape, element by element: a gate. */
#include "nn/layers/pair.h"

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    (void)node;
    return op_mul(run->tape, in[0], in[1]);
}

const Layer mul_layer = {
    .name = "mul",
    .summary = "product of two inputs of one shape",
    .inputs = 2,
    .shape = pair_shape,
    .forward = forward,
    .rule = "product",
};
