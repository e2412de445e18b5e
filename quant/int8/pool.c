#include "quant/int8/pool.h"

#include "nn/layers/pool.h"

PoolArgs pool_args(const QNode *q) {
    Shape in = shape_batched(&q->from[0]->shape, 1), out = shape_batched(&q->node->shape, 1);
    PoolArgs args = {.window = ((const PoolSpec *)q->node->spec)->window};
    window_sizes(&in, args.in);
    window_sizes(&out, args.out);
    return args;
}

size_t pool_scratch(const PoolArgs *args) {
    const int *kernel = args->window.kernel;
    return sizeof(uint8_t *) * (size_t)kernel[0] * (size_t)kernel[1] * (size_t)kernel[2];
}

/* Position along dimension d of place k of output position o; -1 in the padding. */
static int position(const PoolArgs *a, int d, int o, int k) {
    int at = o * a->window.stride[d] - a->window.padding[d] + k * a->window.dilation[d];
    return at >= 0 && at < a->in[d] ? at : -1;
}

static int collect(const PoolArgs *a, const uint8_t *x, size_t channels, const int at[SPATIAL],
                   const uint8_t **place) {
    const int *kernel = a->window.kernel;
    int count = 0;
    for (int i = 0; i < kernel[0]; i++)
        for (int j = 0; j < kernel[1]; j++)
            for (int k = 0; k < kernel[2]; k++) {
                int d = position(a, 0, at[0], i), h = position(a, 1, at[1], j),
                    w = position(a, 2, at[2], k);
                if (d < 0 || h < 0 || w < 0) continue;
                place[count++] = x + channels * (size_t)((d * a->in[1] + h) * a->in[2] + w);
            }
    return count;
}

void pool_run(const Instr *instr, const PoolArgs *a, const Call *call, PoolBody *body) {
    const Value *in = &instr->value[instr->in[0]], *out = &instr->value[instr->out];
    size_t channels = (size_t)out->channels;
    const uint8_t **place = call->scratch;
    uint8_t *y = call->out;
    int at[SPATIAL];
    for (int n = 0; n < call->samples; n++) {
        const uint8_t *x = call->in[0] + (size_t)n * in->bytes;
        for (at[0] = 0; at[0] < a->out[0]; at[0]++)
            for (at[1] = 0; at[1] < a->out[1]; at[1]++)
                for (at[2] = 0; at[2] < a->out[2]; at[2]++, y += channels) {
                    int count = collect(a, x, channels, at, place);
                    body(instr, &(PoolWindow){count, place}, y);
                }
    }
}
