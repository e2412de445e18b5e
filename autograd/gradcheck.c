/* Gradient check. L = sum over i of w[i] y[i] with fixed random weights is a scalar function of
 * every input element; its slope by the five-point central difference
 *
 *   (L(-2h) - 8 L(-h) + 8 L(h) - L(2h)) / 12h  =  L' - h^4/30 L''''' + ...
 *
 * is compared with what backward says. The forward is float32, so h is a compromise: at h = 3/128
 * the error h^4/30 of the formula is 1e-8 of the fifth derivative, and rounding, divided by h, is
 * what limits us.
 *
 * Tolerance. Each y[i] that moves with the element is rounded anew at every step, by up to
 * u = 2^-24 of the largest intermediate result, taken as max(1, |y[i]|) because samples are of
 * order 1, and DEPTH times for the operations it went through. Independent roundings add as
 * squares; the formula multiplies them by sqrt(1 + 64 + 64 + 1) / 12 < 1. Hence
 *
 *   |analytic - numeric| <= DEPTH u sqrt(sum over i of (w[i] max(1, |y[i]|))^2) / h
 *                           + 1e-3 max(|analytic|, |numeric|)
 *
 * The first part is near 1e-4, the second covers the backward's own rounding: a wrong sign or a
 * missing factor of 2 or N in one element is an error of half that element's gradient or more. */
#include "autograd/gradcheck.h"

#include <math.h>
#include <string.h>

#include "autograd/ops.h"

static const float STEP = 3.0f / 128;
static const double DEPTH = 16, ROUNDING = 0x1p-24, RELATIVE = 1e-3;

typedef struct Trial {
    const Op *op;
    int number;
    Arena *arena; /* the sample and its gradients */
    Tape *tape;   /* one run at a time */
    Sample sample;
    Tensor *weights; /* as the output */
    Error *error;
} Trial;

/* The test's own differentiable function: y = sum of x[i] weights[i], so dx = weights dy. */
static void weighted_sum_backward(const Entry *entry) {
    const Tensor *weights = entry->saved;
    for (size_t i = 0; i < weights->count; i++)
        entry->in[0]->grad[i] += weights->data[i] * entry->out->grad[0];
}

static const Op weighted_sum_op = {.name = "weighted_sum", .backward = weighted_sum_backward};

static Tensor *weighted_sum(Tape *tape, Tensor *x, Tensor *weights) {
    Tensor *y = tape_tensor(tape, (Shape){0});
    double sum = 0;
    for (size_t i = 0; i < x->count; i++) sum += (double)x->data[i] * (double)weights->data[i];
    y->data[0] = (float)sum;
    tape_record(tape, &weighted_sum_op, y, 1, &x, weights);
    return y;
}

static bool failed(const Trial *t, const char *what) {
    return error_set(t->error, ERROR_MISSED, "gradcheck %s, trial %d: %s", t->op->name, t->number,
                     what);
}

/* The output of a fresh run; it lives until the next. */
static Tensor *run(const Trial *t, bool recording) {
    tape_reset(t->tape);
    t->tape->recording = recording;
    return t->op->forward(t->tape, &t->sample);
}

/* Runs forward and backward: each gradient of the sample is added to. */
static void add_gradients(const Trial *t) {
    Tensor *y = run(t, true);
    tape_backward(t->tape, weighted_sum(t->tape, y, t->weights));
}

static bool checked(const Trial *t, int k) {
    return t->sample.in[k] && t->sample.in[k]->needs_grad;
}

static void fill_gradients(const Trial *t, float value) {
    for (int k = 0; k < t->sample.inputs; k++) {
        if (!checked(t, k)) continue;
        float *grad = tensor_grad(t->arena, t->sample.in[k]);
        for (size_t i = 0; i < t->sample.in[k]->count; i++) grad[i] = value;
    }
}

/* L with element i of x moved by `move`, in double; the output is copied to y, where given. */
static double loss_at(const Trial *t, Tensor *x, size_t i, float move, float *y) {
    float kept = x->data[i];
    x->data[i] = kept + move;
    const Tensor *out = run(t, false);
    double loss = 0;
    for (size_t j = 0; j < out->count; j++)
        loss += (double)t->weights->data[j] * (double)out->data[j];
    if (y) memcpy(y, out->data, out->count * sizeof *y);
    x->data[i] = kept; /* only now: the output of reshape is x's memory */
    return loss;
}

/* The rounding part of the tolerance: outputs equal on both sides do not depend on the element. */
static double noise(const Trial *t, const float *left, const float *right) {
    double squares = 0;
    for (size_t j = 0; j < t->weights->count; j++) {
        double size = (double)t->weights->data[j] * fmax(1, fabs((double)right[j]));
        if (left[j] != right[j]) squares += size * size;
    }
    return DEPTH * ROUNDING * sqrt(squares) / (double)STEP;
}

static bool check_element(const Trial *t, int k, size_t i, double analytic) {
    Tensor *x = t->sample.in[k];
    ArenaMark mark = arena_mark(t->arena);
    float *left = arena_alloc(t->arena, t->weights->count * sizeof *left);
    float *right = arena_alloc(t->arena, t->weights->count * sizeof *right);
    double numeric = loss_at(t, x, i, -2 * STEP, NULL) - loss_at(t, x, i, 2 * STEP, NULL);
    numeric += 8 * (loss_at(t, x, i, STEP, right) - loss_at(t, x, i, -STEP, left));
    numeric /= 12 * (double)STEP;
    double allowed = noise(t, left, right) + RELATIVE * fmax(fabs(analytic), fabs(numeric));
    arena_rewind(t->arena, mark);
    if (fabs(analytic - numeric) <= allowed) return true;
    return error_set(t->error, ERROR_MISSED,
                     "gradcheck %s, trial %d: input %d, element %zu: backward says %.9g, the "
                     "difference of forward %.9g (allowed: %.2g apart)",
                     t->op->name, t->number, k, i, analytic, numeric, allowed);
}

/* Backward against finite differences, every element; gradients start from 0. */
static bool check_values(const Trial *t) {
    fill_gradients(t, 0);
    add_gradients(t);
    for (int k = 0; k < t->sample.inputs; k++)
        for (size_t i = 0; checked(t, k) && i < t->sample.in[k]->count; i++)
            if (!check_element(t, k, i, (double)t->sample.in[k]->grad[i])) return false;
    return true;
}

/* Two runs give the same bits, recorded or not, and leave the inputs as they are. */
static bool check_purity(const Trial *t) {
    const Sample *s = &t->sample;
    float *before[OP_MAX_INPUTS] = {NULL};
    for (int k = 0; k < s->inputs; k++)
        if (s->in[k]) before[k] = tensor_copy(t->arena, s->in[k]->shape, s->in[k]->data)->data;
    const Tensor *y = run(t, false);
    const float *first = tensor_copy(t->arena, y->shape, y->data)->data;
    if (t->tape->count != 0) return failed(t, "an evaluation tape has entries");
    add_gradients(t);
    y = run(t, true);
    if (memcmp(first, y->data, y->count * sizeof *first) != 0)
        return failed(t, "a second run gives another output");
    for (int k = 0; k < s->inputs; k++)
        if (s->in[k] && memcmp(before[k], s->in[k]->data, s->in[k]->count * sizeof(float)) != 0)
            return failed(t, "an input was written to");
    return true;
}

/* Backward twice upon gradients of 1 makes 1 + 2 gradient, `single` being the gradient from 0. */
static bool check_added(const Trial *t, float *const single[]) {
    fill_gradients(t, 1);
    add_gradients(t);
    add_gradients(t);
    for (int k = 0; k < t->sample.inputs; k++)
        for (size_t i = 0; checked(t, k) && i < t->sample.in[k]->count; i++) {
            double expected = 1 + 2 * (double)single[k][i];
            double difference = fabs((double)t->sample.in[k]->grad[i] - expected);
            /* roundings of partial sums near 1 + 2 gradient: far below what a lost term makes */
            if (!(difference <= 1e-4 * (1 + fabs(expected))))
                return failed(t, "backward sets a gradient instead of adding to it");
        }
    return true;
}

/* An input that wants no gradient gets none, and the others' do not change. */
static bool check_unwanted(const Trial *t, float *const single[]) {
    for (int k = 0; k < t->sample.inputs; k++) {
        Tensor *x = t->sample.in[k];
        if (!checked(t, k)) continue;
        float *grad = x->grad;
        x->needs_grad = false;
        x->grad = NULL;
        fill_gradients(t, 0);
        add_gradients(t);
        bool none = !x->grad, same = true;
        for (int j = 0; j < t->sample.inputs; j++)
            if (checked(t, j))
                same &= memcmp(t->sample.in[j]->grad, single[j],
                               t->sample.in[j]->count * sizeof(float)) == 0;
        x->needs_grad = true;
        x->grad = grad;
        if (!none) return failed(t, "an input without needs_grad got a gradient");
        if (!same) return failed(t, "a gradient depends on whether another is wanted");
    }
    return true;
}

static bool check_accumulation(const Trial *t) {
    float *single[OP_MAX_INPUTS] = {NULL};
    fill_gradients(t, 0);
    add_gradients(t);
    for (int k = 0; k < t->sample.inputs; k++)
        if (checked(t, k)) {
            const Tensor *x = t->sample.in[k];
            single[k] = tensor_copy(t->arena, x->shape, x->grad)->data;
        } else if (t->sample.in[k] && t->sample.in[k]->grad) {
            return failed(t, "an input without needs_grad got a gradient");
        }
    return check_added(t, single) && check_unwanted(t, single);
}

/* Weights of both signs in 0.5 .. 1.5: none is so small that it would hide its output. */
static void make_weights(Trial *t, Rng *rng) {
    t->weights = tensor_new(t->arena, run(t, false)->shape);
    for (size_t i = 0; i < t->weights->count; i++) {
        float size = 0.5f + rng_uniform(rng);
        t->weights->data[i] = rng_below(rng, 2) ? size : -size;
    }
}

bool gradcheck(const Op *op, uint64_t seed, Error *error) {
    bool good = true;
    for (int number = 0; number < op->samples && good; number++) {
        Trial t = {op, number, arena_new(), tape_new(true), {0}, NULL, error};
        Rng rng = rng_stream(seed, RNG_TEST, (uint64_t)number);
        op->sample(t.arena, &rng, number, &t.sample);
        make_weights(&t, &rng);
        fill_gradients(&t, 0); /* makes them in the trial's arena, which outlives the tape's runs */
        good = check_purity(&t) && check_values(&t) && check_accumulation(&t);
        tape_free(t.tape);
        arena_free(t.arena);
    }
    return good;
}
