/* avgpool: the mean of each window over all its places, padding counted as 0. */
#include "nn/layers/pool.h"

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    return op_avgpool(run->tape, in[0], &((const PoolSpec *)node->spec)->window);
}

static int divisor(const Node *node) {
    const int *kernel = ((const PoolSpec *)node->spec)->window.kernel;
    return kernel[0] * kernel[1] * kernel[2];
}

const Layer avgpool_layer = {
    .name = "avgpool",
    .summary = "mean of each window: kernel= stride= padding=",
    .inputs = 1,
    .spec_size = sizeof(PoolSpec),
    .fields = pool_fields,
    .shape = pool_shape,
    .forward = forward,
    .rule = "mean",
    .divisor = divisor,
};
