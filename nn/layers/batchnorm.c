/* batchnorm: PyTorch's BatchNorm1d to 3d over the first dimension of a sample; weight is gamma, bias beta. */
#include "nn/layers/batchnorm.h"

#include "nn/graph.h"

static const Field fields[] = {
    {"eps", &field_float, offsetof(BatchNormLayerSpec, eps), 1e-12, 1, "1e-05", NULL},
    {"momentum", &field_float, offsetof(BatchNormLayerSpec, momentum), 0, 1, "0.1", NULL},
    {0},
};

static bool shape(Node *node, const Shape *const in[], Error *error) {
    (void)error;
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

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    const BatchNormLayerSpec *spec = node->spec;
    if (run->training) node_tensor(node, "num_batches_tracked")->data[0]++;
    return op_batchnorm(run->tape, in[0], node_tensor(node, "weight"), node_tensor(node, "bias"),
                        &(BatchNormSpec){.mean = node_tensor(node, "running_mean")->data,
                                         .var = node_tensor(node, "running_var")->data,
                                         .momentum = spec->momentum,
                                         .eps = spec->eps,
                                         .training = run->training});
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
    .rule = "fold",
};
