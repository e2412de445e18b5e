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

/* Kernel places begin .. end-1 along dimension d lie inside the input at output position o, the
 * first of them at input position `at`. */
typedef struct Inside {
    int begin, end, at;
} Inside;

static Inside inside(const PoolArgs *a, int d, int o) {
    int step = a->window.dilation[d], begin = 0, end = a->window.kernel[d];
    int at = o * a->window.stride[d] - a->window.padding[d];
    while (begin < end && at + begin * step < 0) begin++;
    while (begin < end && at + (end - 1) * step >= a->in[d]) end--;
    return (Inside){begin, end, at + begin * step};
}

/* The places of the window that is `at` along each dimension, in x[D][H][W][channels]. */
static int collect(const PoolArgs *a, const uint8_t *x, size_t channels, const Inside at[SPATIAL],
                   const uint8_t **place) {
    const int *step = a->window.dilation;
    size_t line = channels * (size_t)a->in[2], plane = line * (size_t)a->in[1];
    int count = 0;
    x += (size_t)at[0].at * plane + (size_t)at[1].at * line + (size_t)at[2].at * channels;
    for (int i = 0; i < at[0].end - at[0].begin; i++)
        for (int j = 0; j < at[1].end - at[1].begin; j++) {
            const uint8_t *from = x + (size_t)(i * step[0]) * plane + (size_t)(j * step[1]) * line;
            for (int k = at[2].begin; k < at[2].end; k++, from += (size_t)step[2] * channels)
                place[count++] = from;
        }
    return count;
}

void pool_run(const Instr *instr, const PoolArgs *a, const Call *call, PoolBody *body) {
    const Value *in = &instr->value[instr->in[0]], *out = &instr->value[instr->out];
    size_t channels = (size_t)out->channels;
    const uint8_t **place = call->scratch;
    uint8_t *y = call->out;
    Inside at[SPATIAL];
    for (int n = 0; n < call->samples; n++) {
        const uint8_t *x = call->in[0] + (size_t)n * in->bytes;
        for (int d = 0; d < a->out[0]; d++)
            for (int h = 0; h < a->out[1]; h++) {
                at[0] = inside(a, 0, d);
                at[1] = inside(a, 1, h);
                for (int w = 0; w < a->out[2]; w++, y += channels) {
                    at[2] = inside(a, 2, w);
                    int count = collect(a, x, channels, at, place);
                    body(instr, &(PoolWindow){count, place}, y);
                }
            }
    }
}
