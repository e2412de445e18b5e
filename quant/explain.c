#include "quant/explain.h"

#include "quant/rules/integers.h"

static bool can_explain(const QNode *q, int element, Error *error) {
    const char *name = q->node->name;
    int count = (int)shape_count(&q->node->shape);
    if (q->into)
        return error_set(error, ERROR_INPUT, "%s: it is a part of %s: name that", name,
                         q->into->name);
    if (q->simulated)
        return error_set(error, ERROR_INPUT, "%s: it stays float, there are no integers", name);
    if (!q->rule->arrays)
        return error_set(error, ERROR_INPUT,
                         "%s: a %s has no weights; explained are layers that have", name,
                         q->node->layer->name);
    if (element < 0 || element >= count)
        return error_set(error, ERROR_INPUT, "%s: element %d, its result has 0 to %d", name,
                         element, count - 1);
    return true;
}

/* Which input does weight k meet? The layer is linear in its weights: d y[element] / d w[k] is it.
 * So the layer's own backward tells, for every kind of window, stride and group. Whole numbers
 * below 2^24 stay exact. */
static Tensor *inputs_met(const QNode *q, const Tensor *x, int element, Arena *arena) {
    Tape *tape = tape_new(true);
    tape->exact = true;
    Tensor *w = tensor_zeros(arena, node_tensor(q->node, "weight")->shape);
    w->needs_grad = true;
    w->grad = arena_zeros(arena, sizeof *w->grad * w->count);
    Tensor *codes = rule_codes(&(Run){.tape = tape}, q->in[0], x);
    Tensor *y = q->node->layer->apply(tape, q->node, codes, w, NULL);
    Shape row = SHAPE(1, (int)y->count);
    Tensor *only = tensor_zeros(tape->arena, row);
    only->data[element] = 1;
    tape_backward(tape, op_linear(tape, op_reshape(tape, y, row), only, NULL));
    tape_free(tape);
    return w;
}

bool quant_explain(const QNode *q, const Tensor *x, int element, Arena *arena, Explanation *result,
                   Error *error) {
    if (!can_explain(q, element, error)) return false;
    const WeightedIntegers *w = q->integers;
    WeightLayout layout = node_layout(q->node);
    int channels = w->outputs, positions = (int)shape_count(&q->node->shape) / channels;
    int o = element / positions, grid = w->grid.channels == 1 ? 0 : o;
    const Tensor *met = inputs_met(q, x, element, arena);
    Explanation e = {.channel = o, .terms = w->depth, .bias = w->bias[o]};
    e.term = arena_alloc(arena, sizeof *e.term * (size_t)e.terms);
    for (int k = 0; k < e.terms; k++) {
        int code = w->weight[(size_t)o * (size_t)w->depth + (size_t)k];
        e.term[k] = (Term){(int32_t)met->grad[weight_index(&layout, o, k)],
                           code - w->grid.zero_point[grid]};
        e.sum += e.term[k].x * e.term[k].w;
    }
    e.acc = e.sum + e.bias;
    e.scale =
        (double)q->in[0]->q.scale[0] * (double)w->grid.scale[grid] / (double)q->out->q.scale[0];
    e.multiplier = w->multiplier[o];
    e.scaled = round_shift((int64_t)e.acc * e.multiplier.m0, e.multiplier.shift);
    e.bounds = rule_bounds(q);
    int32_t zero = quantizer_zero(q->out);
    e.byte = clamp_code(zero + e.scaled, e.bounds.lo, e.bounds.hi);
    e.real = q->out->q.scale[0] * (float)(e.byte - zero);
    *result = e;
    return true;
}
