/* maxpool: the largest value of each window; padding never wins. */
#include "nn/layers/pool.h"

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    return op_maxpool(run->tape, in[0], &((const PoolSpec *)node->spec)->window);
}

static bool tail(const Run *run, const Node *node, Tensor *const in[], Tail *t) {
    (void)run, (void)in;
    if (t->pool) return false;
    t->pool = &((const PoolSpec *)node->spec)->window;
    return true;
}

const Layer maxpool_layer = {
    .name = "maxpool",
    .summary = "largest value of each window: kernel= stride= padding= dilation=",
    .inputs = 1,
    .spec_size = sizeof(PoolSpec),
    .fields = maxpool_fields,
    .shape = pool_shape,
    .forward = forward,
    .tail = tail,
    .rule = "share",
};
