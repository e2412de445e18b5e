/* adaptiveavgpool: an average pool whose result has the size asked for. PyTorch's windows are from
 * floor(i in / out) to ceil((i + 1) in / out): where out divides in, they all have in / out places
 * side by side; other sizes, whose windows differ from each other, are refused. */
#include "nn/layers/pool.h"

typedef struct AdaptivePoolSpec {
    PoolSpec pool; /* follows from the input */
    int out[SPATIAL];
} AdaptivePoolSpec;

static const Field fields[] = {
    {"out", &field_sizes, offsetof(AdaptivePoolSpec, out), 1, 1 << 16, NULL, NULL},
    {0},
};

static bool shape(Node *node, const Shape *const in[], Error *error) {
    AdaptivePoolSpec *spec = node->spec;
    Window *window = &spec->pool.window;
    char text[SHAPE_TEXT];
    int size[SPATIAL];
    if (in[0]->rank < 2 || in[0]->rank > 1 + SPATIAL)
        return error_set(error, ERROR_INPUT, "a pool needs 1 to 3 spatial dimensions, not %s",
                         shape_text(in[0], text));
    Shape batched = shape_batched(in[0], 1);
    window_sizes(&batched, size);
    *window = window_identity();
    for (int d = 0; d < SPATIAL; d++) {
        if (size[d] % spec->out[d])
            return error_set(error, ERROR_INPUT,
                             "out=%d must divide the input's %d: windows are of one size",
                             spec->out[d], size[d]);
        window->kernel[d] = window->stride[d] = size[d] / spec->out[d];
    }
    return pool_shape(node, in, error);
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    return op_avgpool(run->tape, in[0], &((const AdaptivePoolSpec *)node->spec)->pool.window, true);
}

const Layer adaptiveavgpool_layer = {
    .name = "adaptiveavgpool",
    .summary = "mean of equal parts, so many that the result has the sizes: out=",
    .inputs = 1,
    .spec_size = sizeof(AdaptivePoolSpec),
    .fields = fields,
    .shape = shape,
    .forward = forward,
    .rule = "mean",
    .divisor = pool_divisor,
};
