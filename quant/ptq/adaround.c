#include "quant/ptq/adaround.h"

#include <math.h>

#include "autograd/kernels/elementwise.h"
#include "quant/fold.h"
#include "quant/outputs_first.h"

/* --- the rectified sigmoid --- */

static const float STRETCH = 1.2f, BELOW = 0.1f; /* it ends at 0 and 1, where sigmoids never come */

static float sigmoid(float v) {
    return 1 / (1 + expf(-v));
}
static float h(float v) {
    return clamp_float(STRETCH * sigmoid(v) - BELOW, 0, 1);
}
static float h_slope(float v) {
    float s = sigmoid(v), y = STRETCH * s - BELOW;
    return y > 0 && y < 1 ? STRETCH * s * (1 - s) : 0;
}
/* v with h(v) = y, 0 <= y <= 1 */
static float h_inverse(float y) {
    return -logf(STRETCH / (y + BELOW) - 1);
}

/* --- w~ --- */

static void soft_forward(const void *context, size_t begin, size_t end) {
    const Entry *entry = context;
    const Rounding *r = entry->saved;
    const float *v = entry->in[0]->data;
    for (size_t i = begin; i < end; i++) entry->out->data[i] = r->base[i] + r->step[i] * h(v[i]);
}

static void soft_backward_range(const void *context, size_t begin, size_t end) {
    const Entry *entry = context;
    const Rounding *r = entry->saved;
    const float *v = entry->in[0]->data, *dw = entry->out->grad;
    for (size_t i = begin; i < end; i++)
        entry->in[0]->grad[i] += dw[i] * r->step[i] * h_slope(v[i]);
}

static void soft_backward(const Entry *entry) {
    elementwise(entry->out->count, soft_backward_range, entry);
}

static Tensor *op_soft_round(Tape *tape, const Rounding *r, Tensor *v) {
    Entry entry = {.in = {v}, .out = tape_tensor(tape, v->shape), .saved = (void *)r};
    elementwise(v->count, soft_forward, &entry);
    tape_record(tape, &soft_round_op, entry.out, 1, entry.in, entry.saved);
    return entry.out;
}

Tensor *rounding_apply(Tape *tape, const Rounding *r, Tensor *x) {
    const Node *node = r->q->node;
    Tensor *w = op_layer_order(tape, op_soft_round(tape, r, r->v), node);
    return node->layer->apply(tape, node, x, w, r->bias);
}

/* --- the cost of being neither --- */

typedef struct Cost {
    const Rounding *r;
    float beta, weight;
} Cost;

/* d/dv of 1 - |2 h - 1|^beta = -2 beta |2 h - 1|^(beta - 1) sign(2 h - 1) h'(v). */
static void cost_backward_range(const void *context, size_t begin, size_t end) {
    const Entry *entry = context;
    const Cost *cost = entry->saved;
    float factor = -2 * cost->beta * cost->weight * entry->out->grad[0];
    for (size_t i = begin; i < end; i++) {
        float v = entry->in[0]->data[i], u = 2 * h(v) - 1;
        if (cost->r->step[i] > 0)
            entry->in[0]->grad[i] +=
                factor * copysignf(powf(fabsf(u), cost->beta - 1), u) * h_slope(v);
    }
}

static void cost_backward(const Entry *entry) {
    elementwise(entry->in[0]->count, cost_backward_range, entry);
}

static Tensor *op_rounding_cost(Tape *tape, const Cost *given, Tensor *v) {
    Cost *cost = arena_alloc(tape->arena, sizeof *cost);
    *cost = *given;
    double sum = 0;
    for (size_t i = 0; i < v->count; i++)
        if (cost->r->step[i] > 0) sum += 1 - (double)powf(fabsf(2 * h(v->data[i]) - 1), cost->beta);
    Tensor *y = tape_tensor(tape, (Shape){0});
    y->data[0] = (float)((double)cost->weight * sum);
    tape_record(tape, &rounding_cost_op, y, 1, &v, cost);
    return y;
}

Tensor *rounding_cost(Tape *tape, const Rounding *r, float beta, float weight) {
    return op_rounding_cost(tape, &(Cost){r, beta, weight}, r->v);
}

/* --- choices, and how they are kept --- */

/* The ends of the range that decides the scale of channel c; further out no weight may move. */
static void channel_ends(const Folded *f, bool symmetric, int c, float *lo, float *hi) {
    size_t depth = f->weight->count / (size_t)f->grid.channels;
    const float *row = f->weight->data + (size_t)c * depth;
    *lo = *hi = 0;
    for (size_t i = 0; i < depth; i++) {
        *lo = fminf(*lo, row[i]);
        *hi = fmaxf(*hi, row[i]);
    }
    if (symmetric) *lo = -(*hi = fmaxf(-*lo, *hi));
}

/* A float weight w that the fold, s w, brings into [lo, hi] and N1 to `code`; NaN: there is none.
 */
static float unfold(const QParams *grid, int c, int32_t code, float s, float lo, float hi) {
    float w = clamp_float(dequantize(grid, c, code), lo, hi) / s;
    for (int i = 0; i < 4 && (s * w < lo || s * w > hi); i++) w = nextafterf(w, 0);
    bool sound = isfinite(w) && s * w >= lo && s * w <= hi && quantize(grid, c, s * w) == code;
    return sound ? w : NAN;
}

/* Weight i of channel c, which the fold multiplies by s. */
static void choose(Rounding *r, const Folded *f, size_t i, int c, float s, float lo, float hi) {
    const QParams *grid = &f->grid;
    float w = f->weight->data[i], below = floorf(w / grid->scale[c]);
    int32_t nearest = quantize(grid, c, w);
    r->base[i] = dequantize(grid, c, nearest);
    if (w <= lo || w >= hi || fabsf(below) > 0x1p22f) return;
    int32_t lower = (int32_t)below + grid->zero_point[c];
    int32_t other = nearest == lower ? lower + 1 : lower;
    if (lower < grid->qmin || lower + 1 > grid->qmax) return;
    r->moved[i] = unfold(grid, c, other, s, lo, hi);
    if (isnan(r->moved[i])) return;
    r->turn[i] = other > nearest ? 1 : -1;
    r->base[i] = dequantize(grid, c, lower);
    r->step[i] = grid->scale[c];
    r->v->data[i] = h_inverse(w / grid->scale[c] - below);
    r->choices++;
}

/* s[outputs] of the fold: what it makes of weights of 1. */
static float *fold_factors(Tape *tape, const QNode *q, int outputs) {
    Tensor *one = tape_tensor(tape, SHAPE(outputs));
    for (int o = 0; o < outputs; o++) one->data[o] = 1;
    return q->batchnorm ? op_fold_weight(tape, one, q->batchnorm)->data : one->data;
}

Rounding *rounding_new(Arena *arena, const QNode *q) {
    Tape tape = {.arena = arena};
    Folded f = weighted_fold(&tape, q, q->batchnorm);
    Rounding *r = arena_zeros(arena, sizeof *r);
    size_t count = f.weight->count;
    int outputs = f.weight->shape.dim[0];
    size_t depth = count / (size_t)outputs;
    r->q = q;
    r->v = tensor_zeros(arena, f.weight->shape);
    r->v->needs_grad = true;
    r->base = arena_zeros(arena, sizeof *r->base * count);
    r->step = arena_zeros(arena, sizeof *r->step * count);
    r->moved = arena_zeros(arena, sizeof *r->moved * count);
    r->turn = arena_zeros(arena, count);
    if (f.bias) {
        r->bias = op_fakequant_bias(&tape, f.bias, q->in[0]->q.scale[0], &f.grid);
        r->bias->needs_grad = false;
    }
    const float *s = fold_factors(&tape, q, outputs);
    for (int o = 0; o < outputs; o++) {
        int c = f.grid.channels == 1 ? 0 : o;
        float lo, hi;
        channel_ends(&f, q->weight.symmetric, c, &lo, &hi);
        for (size_t k = 0; k < depth; k++) choose(r, &f, (size_t)o * depth + k, c, s[o], lo, hi);
    }
    return r;
}

int rounding_settle(const Rounding *r) {
    WeightLayout layout = node_layout(r->q->node);
    float *weight = node_tensor(r->q->node, "weight")->data;
    int depth = layout.runs * layout.run, moved = 0;
    for (int o = 0; o < layout.outputs; o++)
        for (int k = 0; k < depth; k++) {
            size_t i = (size_t)o * (size_t)depth + (size_t)k;
            bool up = h(r->v->data[i]) >= 0.5f;
            if (!r->turn[i] || up != (r->turn[i] > 0)) continue;
            weight[weight_index(&layout, o, k)] = r->moved[i];
            moved++;
        }
    return moved;
}

/* --- gradcheck --- */

/* Six weights, the last without a choice; v where h is between its ends, and not in the middle,
 * where the cost has next to no slope. */
static void sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    enum { COUNT = 6 };
    Rounding *r = arena_zeros(arena, sizeof *r);
    r->base = sample_leaf(arena, rng, SHAPE(COUNT), 1)->data;
    r->step = arena_zeros(arena, sizeof *r->step * COUNT);
    for (int i = 0; i + 1 < COUNT; i++) r->step[i] = 0.3f + 0.1f * (float)i;
    Cost *cost = arena_alloc(arena, sizeof *cost);
    *cost = (Cost){r, trial == 0 ? 2 : 5, 0.7f};
    *s = (Sample){1, {sample_leaf(arena, rng, SHAPE(COUNT), 1)}, cost};
    float *v = s->in[0]->data;
    for (int i = 0; i < COUNT; i++) v[i] = copysignf(0.6f + rng_uniform(rng), v[i]);
}

static Tensor *soft_run(Tape *tape, const Sample *s) {
    return op_soft_round(tape, ((const Cost *)s->spec)->r, s->in[0]);
}
static Tensor *cost_run(Tape *tape, const Sample *s) {
    return op_rounding_cost(tape, s->spec, s->in[0]);
}

const Op soft_round_op = {"soft_round", soft_backward, .samples = 1, sample, soft_run};
const Op rounding_cost_op = {"rounding_cost", cost_backward, .samples = 2, sample, cost_run};
