/* What each op promises beside its gradient, which tests/test_gradcheck.c checks. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "autograd/kernels/parallel.h"
#include "autograd/op.h"
#include "autograd/ops.h"

enum { LARGE = 2 * 16384 + 5 /* elements: three pieces, the last not full */ };

typedef struct Fixture {
    Arena *arena;
    Tape *tape;
    Rng rng;
} Fixture;

static int begin(void **state) {
    Fixture *f = malloc(sizeof *f);
    if (!f) return -1;
    *f = (Fixture){arena_new(), tape_new(true), rng_stream(9, RNG_TEST, 0)};
    *state = f;
    return 0;
}

static int end(void **state) {
    Fixture *f = *state;
    tape_free(f->tape);
    arena_free(f->arena);
    free(f);
    return 0;
}

static void relu_keeps_nan(void **state) {
    Fixture *f = *state;
    static const float data[] = {-1, -0.0f, 0, 2, NAN, INFINITY, -INFINITY};
    const Tensor *y = op_relu(f->tape, tensor_copy(f->arena, SHAPE(7), data));
    static const float expected[] = {0, 0, 0, 2, NAN, INFINITY, 0};
    for (int i = 0; i < 7; i++)
        assert_true(isnan(expected[i]) ? isnan(y->data[i]) : y->data[i] == expected[i]);
}

static void dropout_drops_and_scales(void **state) {
    Fixture *f = *state;
    Tensor *x = sample_leaf(f->arena, &f->rng, SHAPE(LARGE), 1);
    const Tensor *y = op_dropout(f->tape, x, 0.3f, 1, 2);
    int dropped = 0;
    for (int i = 0; i < LARGE; i++) {
        if (y->data[i] == 0)
            dropped++;
        else
            assert_true(y->data[i] == x->data[i] * (float)(1 / (1 - (double)0.3f)));
    }
    /* 5 standard deviations of a count, sqrt(n p (1 - p)) = 83 */
    assert_true(fabs(dropped - 0.3 * LARGE) < 5 * 83);
    const Tensor *same = op_dropout(f->tape, x, 0.3f, 1, 2);
    assert_memory_equal(y->data, same->data, LARGE * sizeof(float));
    for (uint64_t k = 0; k < 2; k++) { /* another seed; another stream */
        const Tensor *other = op_dropout(f->tape, x, 0.3f, 1 + k, 3 - k);
        int common = 0;
        for (int i = 0; i < LARGE; i++) common += y->data[i] == 0 && other->data[i] == 0;
        assert_true(fabs(common - 0.09 * LARGE) < 5 * 52); /* independent: p^2 of them */
    }
    const Tensor *all = op_dropout(f->tape, x, 0, 1, 2);
    assert_memory_equal(all->data, x->data, LARGE * sizeof(float));
}

static void dropped_infinity_is_zero(void **state) {
    Fixture *f = *state;
    Tensor *x = tensor_new(f->arena, SHAPE(100));
    for (int i = 0; i < 100; i++) x->data[i] = INFINITY;
    const Tensor *y = op_dropout(f->tape, x, 0.5f, 1, 2);
    for (int i = 0; i < 100; i++) assert_true(y->data[i] == 0 || y->data[i] == INFINITY);
}

static void cross_entropy_is_stable(void **state) {
    Fixture *f = *state;
    static const float huge[] = {FLT_MAX / 4, 0, -FLT_MAX / 4, 1e4f, 1e4f, -1e4f};
    Tensor *x = tensor_copy(f->arena, SHAPE(2, 3), huge);
    x->needs_grad = true;
    Tensor *loss = op_cross_entropy(f->tape, x, (int[]){0, 1});
    assert_int_equal(loss->shape.rank, 0);
    assert_true(fabsf(loss->data[0] - logf(2) / 2) < 1e-7f); /* rows: 0 and log 2 */
    tape_backward(f->tape, loss);
    static const float expected[] = {0, 0, 0, 0.25f, -0.25f, 0};
    for (int i = 0; i < 6; i++) assert_true(x->grad[i] == expected[i]);
}

static void cross_entropy_copies_labels(void **state) {
    Fixture *f = *state;
    Tensor *x = tensor_zeros(f->arena, SHAPE(1, 4));
    x->needs_grad = true;
    int labels[] = {2};
    Tensor *loss = op_cross_entropy(f->tape, x, labels);
    labels[0] = -1000;
    tape_backward(f->tape, loss);
    for (int i = 0; i < 4; i++) assert_true(x->grad[i] == (i == 2 ? -0.75f : 0.25f));
    x->data[1] = NAN;
    assert_true(isnan(op_cross_entropy(f->tape, x, (int[]){0})->data[0]));
}

static void reshape_shares_elements(void **state) {
    Fixture *f = *state;
    Tensor *x = sample_leaf(f->arena, &f->rng, SHAPE(2, 3, 4), 1);
    const Tensor *y = op_reshape(f->tape, x, SHAPE(6, 4));
    assert_true(shape_equal(&y->shape, &SHAPE(6, 4)));
    assert_ptr_equal(y->data, x->data);
}

/* x has 2 samples, 1 channel, 2 positions: mean 2.5, biased variance 1.25, unbiased 5/3. */
static void batchnorm_moves_running_statistics(void **state) {
    Fixture *f = *state;
    float mean = 10, var = 20, x_data[] = {1, 2, 3, 4}, one = 1, zero = 0;
    BatchNormSpec spec = {&mean, &var, 0.1f, 0, true};
    Tensor *x = tensor_copy(f->arena, SHAPE(2, 1, 2), x_data);
    Tensor *gamma = tensor_copy(f->arena, SHAPE(1), &one);
    Tensor *beta = tensor_copy(f->arena, SHAPE(1), &zero);
    const Tensor *y = op_batchnorm(f->tape, x, gamma, beta, &spec);
    for (int i = 0; i < 4; i++) /* a few roundings of numbers near 1 */
        assert_true(fabs((double)y->data[i] - (i - 1.5) / sqrt(1.25)) < 4e-7);
    assert_true(fabs((double)mean - (0.9 * 10 + 0.1 * 2.5)) < 2e-6);
    assert_true(fabs((double)var - (0.9 * 20 + 0.1 * 5 / 3)) < 4e-6);

    float mean_before = mean, var_before = var;
    spec.training = false;
    y = op_batchnorm(f->tape, x, gamma, beta, &spec);
    assert_true(mean == mean_before && var == var_before);
    for (int i = 0; i < 4; i++)
        assert_true(fabs((double)y->data[i] - (i + 1 - (double)mean) / sqrt((double)var)) < 1e-6);
}

/* Constant channel, a single element, gamma 0: finite everywhere, in both modes. */
static void batchnorm_stays_finite(void **state) {
    Fixture *f = *state;
    static const Shape shapes[] = {{4, {2, 2, 3, 3}}, {2, {1, 2}}};
    for (int k = 0; k < 4; k++) {
        float mean[2] = {0}, var[2] = {0};
        BatchNormSpec spec = {mean, var, 0.1f, 1e-5f, k < 2};
        Tensor *x = tensor_zeros(f->arena, shapes[k % 2]);
        for (size_t i = 0; i < x->count; i++) x->data[i] = 1e4f;
        Tensor *gamma = sample_leaf(f->arena, &f->rng, SHAPE(2), 1);
        Tensor *beta = sample_leaf(f->arena, &f->rng, SHAPE(2), 1);
        gamma->data[1] = 0;
        x->needs_grad = true;
        Tensor *y = op_batchnorm(f->tape, x, gamma, beta, &spec);
        assert_true(floats_finite(y->data, y->count));
        Shape rows = SHAPE(2, (int)y->count / 2);
        tape_backward(f->tape,
                      op_cross_entropy(f->tape, op_reshape(f->tape, y, rows), (int[]){0, 0}));
        assert_true(floats_finite(x->grad, x->count));
        assert_true(floats_finite(gamma->grad, 2) && floats_finite(beta->grad, 2));
        assert_true(floats_finite(mean, 2) && floats_finite(var, 2) && var[0] >= 0);
        if (k < 2) assert_true(y->data[0] == beta->data[0]);
    }
}

/* A mean 4096 times the deviation: E[x^2] - mean^2 in float32 would have no digit left. */
static void batchnorm_does_not_cancel(void **state) {
    Fixture *f = *state;
    enum { COUNT = 4096 };
    float mean = 0, var = 0, one = 1, zero = 0;
    BatchNormSpec spec = {&mean, &var, 1, 0, true};
    Tensor *x = tensor_new(f->arena, SHAPE(1, 1, COUNT));
    for (int i = 0; i < COUNT; i++) x->data[i] = i % 2 ? 4097 : 4095;
    const Tensor *y = op_batchnorm(f->tape, x, tensor_copy(f->arena, SHAPE(1), &one),
                                   tensor_copy(f->arena, SHAPE(1), &zero), &spec);
    for (int i = 0; i < COUNT; i++) assert_true(y->data[i] == (i % 2 ? 1 : -1));
    assert_true(mean == 4096 && fabsf(var - COUNT / (COUNT - 1.0f)) < 1e-6f);
}

/* ---- threads, and the programmer's mistakes ---- */

/* Runs every elementwise op and batchnorm on several pieces; the gradient of x is copied to grad.
 */
static void run_large(Fixture *f, float *grad) {
    Rng rng = rng_stream(4, RNG_TEST, 0);
    Tensor *x = sample_leaf(f->arena, &rng, SHAPE(LARGE / 3, 3), 1);
    Tensor *gamma = sample_leaf(f->arena, &rng, SHAPE(3), 1);
    Tensor *beta = sample_leaf(f->arena, &rng, SHAPE(3), 1);
    float mean[3] = {0}, var[3] = {0};
    BatchNormSpec spec = {mean, var, 0.1f, 1e-5f, true};
    tape_reset(f->tape);
    Tensor *y = op_batchnorm(f->tape, op_mul(f->tape, x, x), gamma, beta, &spec);
    y = op_dropout(f->tape, op_relu(f->tape, op_add(f->tape, x, y)), 0.2f, 1, 1);
    int *labels = arena_zeros(f->arena, sizeof *labels * (LARGE / 3));
    tensor_grad(f->arena, x);
    tape_backward(f->tape, op_cross_entropy(f->tape, y, labels));
    memcpy(grad, x->grad, x->count * sizeof *grad);
}

static void threads_do_not_change_bits(void **state) {
    Fixture *f = *state;
    float *one = arena_zeros(f->arena, LARGE * sizeof *one);
    float *three = arena_zeros(f->arena, LARGE * sizeof *three);
    parallel_stop();
    parallel_start(1);
    run_large(f, one);
    parallel_stop();
    parallel_start(3);
    run_large(f, three);
    parallel_stop();
    assert_true(floats_finite(one, LARGE));
    assert_memory_equal(one, three, LARGE * sizeof *one);
}

static void mistake(Fixture *f, int which) {
    Tensor *a = tensor_zeros(f->arena, SHAPE(2, 3)), *b = tensor_zeros(f->arena, SHAPE(3, 2));
    BatchNormSpec spec = {a->data, b->data, 0.1f, 1e-5f, true};
    if (which == 0) op_add(f->tape, a, b);
    if (which == 1) op_mul(f->tape, a, b);
    if (which == 2) op_reshape(f->tape, a, SHAPE(5));
    if (which == 3) op_dropout(f->tape, a, 1, 0, 0);
    if (which == 4) op_cross_entropy(f->tape, a, (int[]){0, 3});
    if (which == 5) op_cross_entropy(f->tape, a, (int[]){-1, 0});
    if (which == 6) op_batchnorm(f->tape, a, a, b, &spec);
    if (which == 7) tape_backward(f->tape, a);
}

/* In a process of its own, since CHECK ends it. */
static void mistakes_abort(void **state) {
    parallel_stop();
    for (int which = 0; which < 8; which++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(STDERR_FILENO);
            signal(SIGABRT, SIG_DFL);
            mistake(*state, which);
            _exit(0);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) fail_msg("mistake %d", which);
    }
}

#define OP_TEST(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        OP_TEST(relu_keeps_nan),
        OP_TEST(dropout_drops_and_scales),
        OP_TEST(dropped_infinity_is_zero),
        OP_TEST(cross_entropy_is_stable),
        OP_TEST(cross_entropy_copies_labels),
        OP_TEST(reshape_shares_elements),
        OP_TEST(batchnorm_moves_running_statistics),
        OP_TEST(batchnorm_stays_finite),
        OP_TEST(batchnorm_does_not_cancel),
        OP_TEST(threads_do_not_change_bits),
        OP_TEST(mistakes_abort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
