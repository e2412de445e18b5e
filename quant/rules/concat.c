/* concat: values of different grids side by side. Each input is brought to the output's grid by a
 * multiplier of its own and one rounding (N7); an input that has that grid already passes
 * unchanged, its multiplier being 1. */
#include "autograd/kernels/elementwise.h"
#include "quant/portable.h"
#include "quant/rules/integers.h"

static bool freeze(QNode *q, Arena *arena, Error *error) {
    ConcatIntegers *c = q->integers = arena_zeros(arena, sizeof *c);
    for (int k = 0; k < q->node->inputs; k++) {
        double ratio = (double)q->in[k]->q.scale[0] / (double)q->out->q.scale[0];
        if (!multiplier_from(ratio, &c->multiplier[k]))
            return error_set(error, ERROR_INPUT, "%s: a scale ratio of %g", q->node->name, ratio);
    }
    return true;
}

typedef struct Branch {
    const QNode *q;
    Multiplier multiplier;
    const float *code; /* q - Z */
    float *y;
} Branch;

static void branch_elements(const void *context, size_t begin, size_t end) {
    const Branch *b = context;
    const Quantizer *out = b->q->out;
    int32_t zero = quantizer_zero(out);
    Bounds bounds = rule_bounds(b->q);
    for (size_t i = begin; i < end; i++) {
        int32_t byte = requantize((int32_t)b->code[i], b->multiplier, zero, bounds.lo, bounds.hi);
        b->y[i] = out->q.scale[0] * (float)(byte - zero);
    }
}

static Tensor *exact(const Run *run, const QNode *q, Tensor *const in[]) {
    const ConcatIntegers *c = q->integers;
    Tensor *y[LAYER_MAX_INPUTS];
    for (int k = 0; k < q->node->inputs; k++) {
        const Tensor *codes = rule_codes(run, q->in[k], in[k]);
        y[k] = tape_tensor(run->tape, in[k]->shape);
        elementwise(codes->count, branch_elements,
                    &(Branch){q, c->multiplier[k], codes->data, y[k]->data});
    }
    return q->node->layer->forward(run, q->node, y);
}

const Rule concat_rule = {
    .name = "concat", .owns_range = true, .freeze = freeze, .exact = exact, .align = align_terms};
