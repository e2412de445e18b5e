/* maxpool: the largest value of each window; padding never wins. */
#include "autograd/kernels/maxpool.h"
#include "nn/layers/pool.h"

static bool shape(Node *node, const Shape *const in[], Error *error) {
    if (!pool_shape(node, in, error)) return false;
    const int *k = ((const PoolSpec *)node->spec)->window.kernel;
    if (k[0] * k[1] * k[2] > MAXPOOL_PLACES)
        return error_set(error, ERROR_INPUT, "a window of %d places; at most %d",
                         k[0] * k[1] * k[2], MAXPOOL_PLACES);
    return true;
}

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
    .shape = shape,
    .forward = forward,
    .tail = tail,
    .rule = "share",
};
