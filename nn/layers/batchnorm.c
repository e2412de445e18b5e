/* batchnorm: PyTorch's BatchNorm1d to 3d over the first dimension of a sample; weight is gamma,
 * bias beta. */
#include "nn/layers/batchnorm.h"

#include <math.h>

#include "nn/graph.h"

static const Field fields[] = {
    {"eps", &field_float, offsetof(BatchNormLayerSpec, eps), 1e-12, 1, "1e-05", NULL},
    {"momentum", &field_float, offsetof(BatchNormLayerSpec, momentum), 0, 1, "0.1", NULL},
    {0},
};

static bool shape(Node *node, const Shape *const in[], Error *error) {
    char text[SHAPE_TEXT];
    if (in[0]->rank > 1 + SPATIAL)
        return error_set(error, ERROR_INPUT, "batchnorm takes at most 3 spatial dimensions, not %s",
                         shape_text(in[0], text));
    node->shape = *in[0];
    Shape channels = SHAPE(in[0]->dim[0]);
    node_param(node, "weight", channels, true);
    node_param(node, "bias", channels, true);
    node_param(node, "running_mean", channels, false);
    node_param(node, "running_var", channels, false);
    node_param(node, "num_batches_tracked", (Shape){0}, false);
    node->param[4].counter = true;
    return true;
}

static void init(Node *node, Rng *rng) {
    (void)rng;
    Tensor *gamma = node_tensor(node, "weight"), *var = node_tensor(node, "running_var");
    for (size_t c = 0; c < gamma->count; c++) gamma->data[c] = var->data[c] = 1;
}

static Tensor *forward_tail(const Run *run, const Node *node, Tensor *const in[],
                            const Tail *tail) {
    const BatchNormLayerSpec *spec = node->spec;
    if (run->training) node_tensor(node, "num_batches_tracked")->data[0]++;
    return op_batchnorm_tail(run->tape, in[0], node_tensor(node, "weight"),
                             node_tensor(node, "bias"),
                             &(BatchNormSpec){.mean = node_tensor(node, "running_mean")->data,
                                              .var = node_tensor(node, "running_var")->data,
                                              .momentum = spec->momentum,
                                              .eps = spec->eps,
                                              .training = run->training},
                             tail);
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    return forward_tail(run, node, in, NULL);
}

/* Where nothing is learned it is a function of each value alone. Training only asks for the sums
 * that it will want. */
static bool add_to_tail(const Run *run, const Node *node, Tensor *const in[], Tail *tail) {
    (void)in;
    tail->moments = run->training && tail_empty(tail);
    if (run->training || run->tape->recording || !tail_empty(tail)) return false;
    const BatchNormLayerSpec *spec = node->spec;
    const Tensor *gamma = node_tensor(node, "weight"), *var = node_tensor(node, "running_var");
    Tensor *scale = tape_tensor(run->tape, gamma->shape);
    for (size_t c = 0; c < gamma->count; c++)
        scale->data[c] = gamma->data[c] * (1 / sqrtf(var->data[c] + spec->eps));
    tail->mean = node_tensor(node, "running_mean")->data;
    tail->scale = scale->data;
    tail->shift = node_tensor(node, "bias")->data;
    return true;
}

/* With mean 0 and variance 1, and nothing to keep that from dividing by 0, normalising changes
 * nothing. */
static Tensor *apply(Tape *tape, const Node *node, Tensor *x, Tensor *w, Tensor *b) {
    (void)node;
    Tensor *zeros = tensor_zeros(tape->arena, w->shape), *ones = tape_tensor(tape, w->shape);
    for (size_t c = 0; c < ones->count; c++) ones->data[c] = 1;
    return op_batchnorm(tape, x, w, b ? b : zeros,
                        &(BatchNormSpec){.mean = zeros->data, .var = ones->data});
}

const Layer batchnorm_layer = {
    .name = "batchnorm",
    .summary = "batch normalisation per channel: eps= momentum=",
    .inputs = 1,
    .spec_size = sizeof(BatchNormLayerSpec),
    .fields = fields,
    .shape = shape,
    .init = init,
    .forward = forward,
    .forward_tail = forward_tail,
    .tail = add_to_tail,
    .apply = apply,
    .rule = "fold",
};
