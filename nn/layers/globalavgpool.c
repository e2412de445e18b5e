/* globalavgpool: the mean of each channel: an average pool whose window is the whole input. The
 * spatial sizes of the result are 1, as of PyTorch's AdaptiveAvgPool(1). */
#include "nn/layers/pool.h"

/* The spec holds the window, which has no text form: it follows from the input. */
static bool shape(Node *node, const Shape *const in[], Error *error) {
    PoolSpec *spec = node->spec;
    char text[SHAPE_TEXT];
    if (in[0]->rank < 2 || in[0]->rank > 1 + SPATIAL)
        return error_set(error, ERROR_INPUT, "a pool needs 1 to 3 spatial dimensions, not %s",
                         shape_text(in[0], text));
    Shape batched = shape_batched(in[0], 1);
    spec->window = window_identity();
    window_sizes(&batched, spec->window.kernel);
    return pool_shape(node, in, error);
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    return op_avgpool(run->tape, in[0], &((const PoolSpec *)node->spec)->window, true);
}

const Layer globalavgpool_layer = {
    .name = "globalavgpool",
    .summary = "mean of each channel",
    .inputs = 1,
    .spec_size = sizeof(PoolSpec),
    .shape = shape,
    .forward = forward,
    .rule = "mean",
    .divisor = pool_divisor,
};
