/* linear: y = x W' + b on a flat input; weight [out, in], bias [out], as PyTorch's Linear. */
#include "nn/graph.h"
#include "nn/init.h"

typedef struct LinearSpec {
    int out;
    bool bias;
    int init; /* InitKind */
} LinearSpec;

static const Field fields[] = {
    {"out", &field_int, offsetof(LinearSpec, out), 1, 1 << 20, NULL, NULL},
    {"bias", &field_bool, offsetof(LinearSpec, bias), 0, 0, "true", NULL},
    {"init", &field_choice, offsetof(LinearSpec, init), 0, 0, "default", init_names},
    {0},
};

static bool shape(Node *node, const Shape *const in[], Error *error) {
    const LinearSpec *spec = node->spec;
    char text[SHAPE_TEXT];
    if (in[0]->rank != 1)
        return error_set(error, ERROR_INPUT,
                         "linear needs a flat input, not %s: put a flatten before it",
                         shape_text(in[0], text));
    if ((double)spec->out * in[0]->dim[0] > 0x1p28)
        return error_set(error, ERROR_INPUT, "%d x %d weights, at most 2^28", spec->out,
                         in[0]->dim[0]);
    node->shape = SHAPE(spec->out);
    node_matrix(node, "weight", spec->out, in[0]->dim[0]);
    if (spec->bias) node_param(node, "bias", SHAPE(spec->out), true);
    return true;
}

static void init(Node *node, Rng *rng) {
    Tensor *weight = node_tensor(node, "weight");
    init_weights((InitKind)((LinearSpec *)node->spec)->init, weight, node_tensor(node, "bias"),
                 weight->shape.dim[1], weight->shape.dim[0], rng);
}

static Tensor *apply(Tape *tape, const Node *node, Tensor *x, Tensor *w, Tensor *b) {
    (void)node;
    return op_linear(tape, x, w, b);
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    Product product = node_product(node, "weight", "bias");
    return op_product(run->tape, in[0], &product);
}

const Layer linear_layer = {
    .name = "linear",
    .summary = "fully connected: out= bias= init=",
    .inputs = 1,
    .spec_size = sizeof(LinearSpec),
    .fields = fields,
    .shape = shape,
    .init = init,
    .forward = forward,
    .apply = apply,
    .rule = "weighted",
};
