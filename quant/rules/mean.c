/* mean: the average pools. The whole window is summed exactly; dividing and changing the scale are
 * one multiplier and one rounding (N7). */
#include "autograd/kernels/elementwise.h"
#include "quant/rules/integers.h"

static bool freeze(QNode *q, Arena *arena, Error *error) {
    MeanIntegers *m = q->integers = arena_zeros(arena, sizeof *m);
    int divisor = q->node->layer->divisor(q->node);
    /* exact() recovers the sum from a mean in float32: right to the last unit while sums stay below
     * 2^22 */
    if ((int64_t)divisor * quantizer_top(q->in[0]) >= 1 << 22)
        return error_set(error, ERROR_INPUT, "%s: a window of %d values is too large for integers",
                         q->node->name, divisor);
    double ratio = (double)q->in[0]->q.scale[0] / (divisor * (double)q->out->q.scale[0]);
    if (!multiplier_from(ratio, &m->multiplier))
        return error_set(error, ERROR_INPUT, "%s: a scale ratio of %g", q->node->name, ratio);
    return true;
}

typedef struct Mean {
    const QNode *q;
    const float *mean;
    float *y;
} Mean;

static void mean_elements(const void *context, size_t begin, size_t end) {
    const Mean *mean = context;
    const MeanIntegers *m = mean->q->integers;
    const Quantizer *out = mean->q->out;
    double divisor = mean->q->node->layer->divisor(mean->q->node);
    int32_t zero = quantizer_zero(out);
    Bounds bounds = rule_bounds(mean->q);
    for (size_t i = begin; i < end; i++) {
        int32_t sum = (int32_t)rint((double)mean->mean[i] * divisor);
        int32_t byte = requantize(sum, m->multiplier, zero, bounds.lo, bounds.hi);
        mean->y[i] = out->q.scale[0] * (float)(byte - zero);
    }
}

static Tensor *exact(const Run *run, const QNode *q, Tensor *const in[]) {
    Tensor *codes = rule_codes(run, q->in[0], in[0]);
    Tensor *mean = q->node->layer->forward(run, q->node, &codes);
    Tensor *y = tape_tensor(run->tape, mean->shape);
    elementwise(y->count, mean_elements, &(Mean){q, mean->data, y->data});
    return y;
}

const Rule mean_rule = {.name = "mean", .owns_range = true, .freeze = freeze, .exact = exact};
