/* dropout: while training, each value is 0 with probability p, else divided by 1 - p; else the
 * identity. */
#include "nn/graph.h"

typedef struct DropoutSpec {
    float p;
} DropoutSpec;

static const Field fields[] = {
    {"p", &field_float, offsetof(DropoutSpec, p), 0, 0.99, "0.5", NULL},
    {0},
};

static bool shape(Node *node, const Shape *const in[], Error *error) {
    (void)error;
    node->shape = *in[0];
    return true;
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    if (!run->training) return in[0];
    uint64_t stream = run->step * GRAPH_MAX_NODES + (uint64_t)node->index; /* one a step and node */
    return op_dropout(run->tape, in[0], ((const DropoutSpec *)node->spec)->p, run->seed, stream);
}

const Layer dropout_layer = {
    .name = "dropout",
    .summary = "zeroes values at random while training: p=",
    .inputs = 1,
    .spec_size = sizeof(DropoutSpec),
    .fields = fields,
    .shape = shape,
    .forward = forward,
    .rule = "share",
};
