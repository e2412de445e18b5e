/* sum: the residual connection. Each input has its own scale, so each gets a multiplier, all at one
 * shift; the products are added in 64 bits and rounded once (N7). */
#include "autograd/kernels/elementwise.h"
#include "quant/portable.h"
#include "quant/rules/integers.h"

static bool freeze(QNode *q, Arena *arena, Error *error) {
    SumIntegers *s = q->integers = arena_zeros(arena, sizeof *s);
    double m[LAYER_MAX_INPUTS];
    for (int i = 0; i < q->node->inputs; i++)
        m[i] = (double)q->in[i]->q.scale[0] / (double)q->out->q.scale[0];
    if (!multipliers_joint(q->node->inputs, m, s->multiplier))
        return error_set(error, ERROR_INPUT, "%s: a scale ratio of %g", q->node->name, m[0]);
    return true;
}

typedef struct Sum {
    const QNode *q;
    const float *code[LAYER_MAX_INPUTS];
    float *y;
} Sum;

static void sum_elements(const void *context, size_t begin, size_t end) {
    const Sum *sum = context;
    const SumIntegers *s = sum->q->integers;
    const Quantizer *out = sum->q->out;
    int32_t zero = quantizer_zero(out);
    Bounds bounds = rule_bounds(sum->q);
    for (size_t i = begin; i < end; i++) {
        int64_t total = 0;
        for (int k = 0; k < sum->q->node->inputs; k++)
            total += (int64_t)sum->code[k][i] * s->multiplier[k].m0;
        int32_t byte =
            clamp_code(zero + round_shift(total, s->multiplier[0].shift), bounds.lo, bounds.hi);
        sum->y[i] = out->q.scale[0] * (float)(byte - zero);
    }
}

static Tensor *exact(const Run *run, const QNode *q, Tensor *const in[]) {
    Tensor *y = tape_tensor(run->tape, in[0]->shape);
    Sum sum = {.q = q, .y = y->data};
    for (int k = 0; k < q->node->inputs; k++) sum.code[k] = rule_codes(run, q->in[k], in[k])->data;
    elementwise(y->count, sum_elements, &sum);
    return y;
}

const Rule sum_rule = {
    .name = "sum", .owns_range = true, .freeze = freeze, .exact = exact, .align = align_terms};
