/* Each op of the list is gradient-checked; and gradcheck is checked: it must reject each of them
 * with one wrong element, and ops that are wrong in other ways. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/gradcheck.h"
#include "autograd/op.h"
#include "autograd/ops.h"

static void gradients_match_differences(void **state) {
    const Op *op = *state;
    assert_true(op->samples > 0);
    for (uint64_t seed = 1; seed <= 5; seed++) {
        Error error = {0};
        if (!gradcheck(op, seed, &error)) fail_msg("%s", error.message);
    }
}

/* ---- what gradcheck must reject ---- */

/* One op and trial as it is, except that backward multiplies one element of one gradient by
 * `factor`. */
static struct {
    const Op *op, *recorded;
    int trial, input;
    size_t element;
    float factor, lost; /* lost: how much the gradient was changed */
} mutation;

static void mutant_backward(const Entry *entry) {
    float *grad = entry->in[mutation.input]->grad;
    float before = grad ? grad[mutation.element] : 0;
    mutation.recorded->backward(entry);
    if (!grad) return;
    float change = (mutation.factor - 1) * (grad[mutation.element] - before);
    grad[mutation.element] += change;
    mutation.lost = fmaxf(mutation.lost, fabsf(change));
}

static const Op mutant_op;

static Tensor *mutant_forward(Tape *tape, const Sample *sample) {
    Tensor *y = mutation.op->forward(tape, sample);
    if (tape->count > 0) {
        mutation.recorded = tape->entries[0].op;
        tape->entries[0].op = &mutant_op;
    }
    return y;
}

static void mutant_sample(Arena *arena, Rng *rng, int trial, Sample *sample) {
    (void)trial;
    mutation.op->sample(arena, rng, mutation.trial, sample);
}

static const Op mutant_op = {"mutant", mutant_backward, .samples = 1, mutant_sample,
                             mutant_forward};

/* A wrong sign, half, double: each must be found in each element, unless the gradient is so near 0
 * that the mistake is smaller than 1e-3. */
static void reject_element(int input, size_t element) {
    static const float factors[] = {-1, 0.5f, 2};
    for (int f = 0; f < 3; f++) {
        mutation.input = input, mutation.element = element;
        mutation.factor = factors[f], mutation.lost = 0;
        bool passed = gradcheck(&mutant_op, 1, NULL);
        if (passed && mutation.lost > 1e-3f)
            fail_msg("%s, trial %d, input %d, element %zu: times %g, a change of %g, passed",
                     mutation.op->name, mutation.trial, input, element, (double)factors[f],
                     (double)mutation.lost);
    }
}

static void any_wrong_element_is_rejected(void **state) {
    const Op *op = *state;
    for (int trial = 0; trial < op->samples; trial++) {
        Arena *arena = arena_new();
        Rng rng = rng_stream(1, RNG_TEST, 0);
        Sample s = {0};
        op->sample(arena, &rng, trial, &s);
        mutation.op = op, mutation.trial = trial;
        for (int k = 0; k < s.inputs; k++)
            if (s.in[k] && s.in[k]->needs_grad)
                for (size_t i = 0; i < s.in[k]->count; i += 1 + s.in[k]->count / 5)
                    reject_element(k, i);
        arena_free(arena);
    }
}

/* y = x x, right and in several ways wrong. */
static Op square_op;
static int runs;

static Tensor *square(Tape *tape, const Sample *s) {
    Tensor *x = s->in[0], *y = tape_tensor(tape, x->shape);
    for (size_t i = 0; i < x->count; i++) y->data[i] = x->data[i] * x->data[i];
    tape_record(tape, &square_op, y, 1, &x, NULL);
    return y;
}

static Tensor *square_that_drifts(Tape *tape, const Sample *s) {
    Tensor *y = square(tape, s);
    y->data[2] += 1e-6f * (float)runs++;
    return y;
}

static Tensor *square_in_place(Tape *tape, const Sample *s) {
    Tensor *y = square(tape, s);
    s->in[0]->data[1] = -s->in[0]->data[1];
    return y;
}

static void square_backward(const Entry *e) {
    for (size_t i = 0; i < e->out->count; i++)
        e->in[0]->grad[i] += 2 * e->in[0]->data[i] * e->out->grad[i];
}

static void square_backward_without_2(const Entry *e) {
    for (size_t i = 0; i < e->out->count; i++)
        e->in[0]->grad[i] += e->in[0]->data[i] * e->out->grad[i];
}

static void square_backward_that_sets(const Entry *e) {
    for (size_t i = 0; i < e->out->count; i++)
        e->in[0]->grad[i] = 2 * e->in[0]->data[i] * e->out->grad[i];
}

static void square_backward_nan(const Entry *e) {
    square_backward(e);
    e->in[0]->grad[3] = NAN;
}

static void square_sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    (void)trial;
    *s = (Sample){1, {sample_leaf(arena, rng, SHAPE(6), 1)}, NULL};
}

/* Gives a gradient to an input that wants none. */
static void product_backward_to_all(const Entry *e) {
    for (int k = 0; k < 2; k++) {
        float *grad = tensor_grad(e->tape->arena, e->in[k]);
        for (size_t i = 0; i < e->out->count; i++)
            grad[i] += e->in[1 - k]->data[i] * e->out->grad[i];
    }
}

static Op product_op;

static Tensor *product(Tape *tape, const Sample *s) {
    Tensor *y = op_mul(tape, s->in[0], s->in[1]);
    if (tape->count > 0) tape->entries[tape->count - 1].op = &product_op;
    return y;
}

static void product_sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    (void)trial;
    *s = (Sample){.inputs = 2};
    for (int k = 0; k < 2; k++) s->in[k] = sample_leaf(arena, rng, SHAPE(4), 1);
}

static void assert_rejected(const Op *op, const char *reason) {
    Error error = {0};
    assert_false(gradcheck(op, 1, &error));
    assert_int_equal(error.code, ERROR_MISSED);
    if (!strstr(error.message, reason)) fail_msg("not for \"%s\": %s", reason, error.message);
}

static void wrong_ops_are_rejected(void **state) {
    (void)state;
    const Op right = {"square", square_backward, .samples = 1, square_sample, square};
    square_op = right;
    assert_true(gradcheck(&square_op, 1, NULL));
    square_op.backward = square_backward_without_2;
    assert_rejected(&square_op, "gradcheck square, trial 0: input 0, element 0: backward says");
    square_op.backward = square_backward_nan;
    assert_rejected(&square_op, "element 3: backward says nan");
    square_op.backward = square_backward_that_sets;
    assert_rejected(&square_op, "sets a gradient");
    square_op = right;
    square_op.forward = square_that_drifts;
    assert_rejected(&square_op, "another output");
    square_op.forward = square_in_place;
    assert_rejected(&square_op, "written to");
    product_op = (Op){"product", product_backward_to_all, .samples = 1, product_sample, product};
    assert_rejected(&product_op, "without needs_grad");
}

/* Two tests for each op of the list, named after it. */
static int run_listed(void) {
    enum { MOST = 256 };
    struct CMUnitTest tests[MOST];
    size_t count = 0;
    Arena *names = arena_new();
    for (const Op *const *op = op_list; *op; op++) {
        CHECK(count + 2 <= MOST, "more ops than this test has room for");
        tests[count++] = (struct CMUnitTest){arena_text(names, "%s: gradients", (*op)->name),
                                             gradients_match_differences, NULL, NULL, (void *)*op};
        tests[count++] =
            (struct CMUnitTest){arena_text(names, "%s: wrong elements", (*op)->name),
                                any_wrong_element_is_rejected, NULL, NULL, (void *)*op};
    }
    int failures = _cmocka_run_group_tests("listed ops", tests, count, NULL, NULL);
    arena_free(names);
    return failures;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(wrong_ops_are_rejected)};
    return run_listed() + cmocka_run_group_tests(tests, NULL, NULL);
}
