/* avgpool: the mean of each window over all its places, padding counted as 0 or left out. */
#include "nn/layers/pool.h"

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    const PoolSpec *spec = node->spec;
    return op_avgpool(run->tape, in[0], &spec->window, pool_divides_evenly(spec));
}

const Layer avgpool_layer = {
    .name = "avgpool",
    .summary = "mean of each window: kernel= stride= padding= count_include_pad=",
    .inputs = 1,
    .spec_size = sizeof(PoolSpec),
    .fields = avgpool_fields,
    .shape = pool_shape,
    .forward = forward,
    .rule = "mean",
    .divisor = pool_divisor,
};
