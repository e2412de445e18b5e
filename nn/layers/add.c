/* add: two inputs of one shape, element by element: the residual connection. */
#include "nn/layers/pair.h"

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    (void)node;
    return op_add(run->tape, in[0], in[1]);
}

/* Of two values, one the chain's, the other computed before it. */
static bool tail(const Run *run, const Node *node, Tensor *const in[], Tail *t) {
    (void)run;
    if (node->inputs != 2 || t->addend || t->relu || t->pool) return false;
    t->addend = in[0] ? in[0] : in[1];
    return t->addend;
}

const Layer add_layer = {
    .name = "add",
    .summary = "sum of two inputs of one shape",
    .inputs = 2,
    .shape = pair_shape,
    .forward = forward,
    .tail = tail,
    .rule = "sum",
};
