/* mean: the average pools. The whole window is summed exactly; dividing and changing the scale are
 * one multiplier and one rounding (N7). */
#include "autograd/kernels/elementwise.h"
#include "quant/portable.h"
#include "quant/rules/integers.h"

/* What each position divides by. */
static void find_divisors(const QNode *q, MeanIntegers *m, Arena *arena) {
    const Node *node = q->node;
    m->positions = (int)shape_count(&node->shape) / node->shape.dim[0];
    m->divisor = arena_alloc(arena, sizeof *m->divisor * (size_t)m->positions);
    for (int p = 0; p < m->positions; p++) {
        m->divisor[p] = node->layer->divisor(node, &q->from[0]->shape, p);
        if (m->most < m->divisor[p]) m->most = m->divisor[p];
    }
}

static bool freeze(QNode *q, Arena *arena, Error *error) {
    MeanIntegers *m = q->integers = arena_zeros(arena, sizeof *m);
    find_divisors(q, m, arena);
    /* exact() recovers the sum from a mean in float32: right to the last unit while sums stay below
     * 2^22 */
    if ((int64_t)m->most * quantizer_top(q->in[0]) >= 1 << 22)
        return error_set(error, ERROR_INPUT, "%s: a window of %d values is too large for integers",
                         q->node->name, m->most);
    m->multiplier = arena_zeros(arena, sizeof *m->multiplier * (size_t)(m->most + 1));
    for (int p = 0; p < m->positions; p++) {
        int n = m->divisor[p];
        double ratio = (double)q->in[0]->q.scale[0] / (n * (double)q->out->q.scale[0]);
        if (!m->multiplier[n].m0 && !multiplier_from(ratio, &m->multiplier[n]))
            return error_set(error, ERROR_INPUT, "%s: a scale ratio of %g", q->node->name, ratio);
    }
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
    int32_t zero = quantizer_zero(out);
    Bounds bounds = rule_bounds(mean->q);
    for (size_t i = begin; i < end; i++) {
        int divisor = m->divisor[i % (size_t)m->positions];
        int32_t sum = (int32_t)rint((double)mean->mean[i] * divisor);
        int32_t byte = requantize(sum, m->multiplier[divisor], zero, bounds.lo, bounds.hi);
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

/* The sum over n places is divided by n, too, whose powers of two the steps must have. */
static void align(QNode *q) {
    align_terms(q);
    int positions = (int)shape_count(&q->node->shape) / q->node->shape.dim[0];
    for (int p = 0; p < positions; p++) {
        int divisor = q->node->layer->divisor(q->node, &q->from[0]->shape, p), twos = 0;
        while (divisor % (2 << twos) == 0) twos++;
        if (q->out->align.places < twos) q->out->align.places = twos;
    }
}

const Rule mean_rule = {
    .name = "mean", .owns_range = true, .freeze = freeze, .exact = exact, .align = align};
