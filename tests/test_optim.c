/* The optimizers and schedules against PyTorch's, and that a run may be cut anywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "autograd/kernels/parallel.h"
#include "autograd/rng.h"
#include "optim/optim.h"
#include "optim/schedule.h"
#include "tests/golden/optim.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* The problem of tests/golden/make_optim.py. */
static void test_golden(void **state) {
    (void)state;
    static const float start[] = {0.5f, -1.25f, 2.0f, -0.0625f}, c[] = {1.0f, 0.5f, -0.25f, 3.0f};
    static const double rates[] = {0.1, 0.05, 0.02};
    for (size_t row = 0; row < COUNT(golden_steps); row++) {
        Arena *arena = arena_new();
        Tensor *w = tensor_copy(arena, SHAPE(4), start);
        float *grad = tensor_grad(arena, w);
        OptimizerSpec spec = {optimizer_rule(golden_steps[row].name), golden_steps[row].momentum,
                              golden_steps[row].weight_decay, golden_steps[row].nesterov};
        Optimizer *optimizer = optimizer_new(arena, spec, 1, &(Parameter){"w", w, .rate = 1});
        for (int t = 0; t < 3; t++) {
            for (int i = 0; i < 4; i++) grad[i] = c[i] * w->data[i] + 0.1f * (float)t;
            optimizer_step(optimizer, rates[t]);
        }
        /* PyTorch fuses multiply and add: half an ulp for each of about ten operations. */
        for (int i = 0; i < 4; i++)
            assert_true(fabsf(w->data[i] - golden_steps[row].w[i]) <=
                        8 * 0x1p-24f * fmaxf(1, fabsf(w->data[i])));
        arena_free(arena);
    }
}

typedef struct Problem {
    Arena *arena;
    Tensor *w[3];
    Optimizer *optimizer;
} Problem;

/* Three parameters: more than one piece, one element, none with a gradient. */
static Problem problem_new(const OptimizerRule *rule) {
    Problem problem = {.arena = arena_new()};
    static const char *const names[] = {"a.weight", "a.bias", "b.weight"};
    Parameter parameter[3];
    Rng rng = rng_stream(1, RNG_TEST, 0);
    for (int p = 0; p < 3; p++) {
        problem.w[p] = tensor_new(problem.arena, p == 1 ? SHAPE(1) : SHAPE(173, 211));
        for (size_t i = 0; i < problem.w[p]->count; i++) problem.w[p]->data[i] = rng_normal(&rng);
        if (p < 2) tensor_grad(problem.arena, problem.w[p]);
        parameter[p] = (Parameter){names[p], problem.w[p], 1};
    }
    OptimizerSpec spec = {rule, .momentum = 0.9, .weight_decay = 1e-3, .nesterov = true};
    problem.optimizer = optimizer_new(problem.arena, spec, 3, parameter);
    return problem;
}

static void problem_run(Problem *problem, int from, int to) {
    for (int t = from; t < to; t++) {
        Rng rng = rng_stream(2, RNG_TEST, (uint64_t)t);
        optimizer_clear(problem->optimizer);
        for (int p = 0; p < 2; p++)
            for (size_t i = 0; i < problem->w[p]->count; i++)
                problem->w[p]->grad[i] += rng_normal(&rng);
        optimizer_step(problem->optimizer, 0.05);
    }
}

static void assert_same(const Problem *a, const Problem *b) {
    for (int p = 0; p < 3; p++)
        assert_memory_equal(a->w[p]->data, b->w[p]->data, a->w[p]->count * sizeof(float));
    for (int i = 0; i < a->optimizer->arrays; i++)
        assert_memory_equal(a->optimizer->array[i].data, b->optimizer->array[i].data,
                            a->optimizer->array[i].count * sizeof(float));
}

/* For every rule: four steps are two steps, saved, loaded and continued; at one thread or three. */
static void test_resume_and_threads(void **state) {
    (void)state;
    for (int r = 0; optimizer_rules[r]; r++) {
        assert_ptr_equal(optimizer_rule(optimizer_rules[r]->name), optimizer_rules[r]);
        parallel_stop(); /* the default pool of an earlier test */
        parallel_start(1);
        Problem whole = problem_new(optimizer_rules[r]), first = problem_new(optimizer_rules[r]);
        Problem second = problem_new(optimizer_rules[r]),
                untouched = problem_new(optimizer_rules[r]);
        problem_run(&whole, 0, 4);
        problem_run(&first, 0, 2);
        for (int p = 0; p < 3; p++)
            memcpy(second.w[p]->data, first.w[p]->data, first.w[p]->count * sizeof(float));
        for (int i = 0; i < first.optimizer->arrays; i++)
            memcpy(second.optimizer->array[i].data, first.optimizer->array[i].data,
                   first.optimizer->array[i].count * sizeof(float));
        second.optimizer->steps = first.optimizer->steps;
        parallel_stop();
        parallel_start(3);
        problem_run(&second, 2, 4);
        parallel_stop();
        assert_same(&whole, &second);
        /* what has no gradient does not move, not even by weight decay; the others do */
        assert_memory_equal(whole.w[2]->data, untouched.w[2]->data,
                            whole.w[2]->count * sizeof(float));
        for (size_t i = 0; i < whole.w[0]->count; i++)
            assert_true(whole.w[0]->data[i] != untouched.w[0]->data[i]);
        assert_true(whole.w[1]->data[0] != untouched.w[1]->data[0]);
        arena_free(whole.arena), arena_free(first.arena);
        arena_free(second.arena), arena_free(untouched.arena);
    }
}

static void test_arrays(void **state) {
    (void)state;
    Problem problem = problem_new(optimizer_rule("sgd"));
    const Optimizer *sgd = problem.optimizer;
    assert_int_equal(sgd->arrays, 3);
    assert_string_equal(sgd->array[0].name, "momentum_buffer.a.weight");
    assert_string_equal(sgd->array[1].name, "momentum_buffer.a.bias");
    assert_true(shape_equal(&sgd->array[2].shape, &problem.w[2]->shape));
    for (size_t i = 0; i < sgd->array[0].count; i++) assert_true(sgd->array[0].data[i] == 0);
    problem_run(&problem, 0, 1);
    optimizer_clear(problem.optimizer);
    for (size_t i = 0; i < problem.w[0]->count; i++) assert_true(problem.w[0]->grad[i] == 0);
    assert_null(problem.w[2]->grad);
    assert_null(optimizer_rule("sdg"));
    arena_free(problem.arena);
}

static void assert_rates(const char *name, const SchedulePlan *plan, const double *golden,
                         size_t count) {
    const Schedule *schedule = schedule_find(name);
    assert_non_null(schedule);
    /* PyTorch multiplies its way from step to step: some ulps of a double at each of 16 steps */
    for (size_t t = count; t-- > 0;)
        assert_true(fabs(schedule_rate(schedule, plan, (int64_t)t) - golden[t]) <= 1e-15);
}

static void test_schedules(void **state) {
    (void)state;
    SchedulePlan plan = {
        .base = 0.1, .steps = 12, .steps_per_epoch = 3, .gamma = 0.1, .step_size = 2};
    assert_rates("cosine", &plan, golden_cosine, COUNT(golden_cosine));
    assert_rates("step", &plan, golden_step, COUNT(golden_step));
    plan.final_fraction = 0.01;
    assert_rates("cosine", &plan, golden_cosine_low, COUNT(golden_cosine_low));
    plan.final_fraction = 0;
    plan.warmup = 4;
    assert_rates("cosine", &plan, golden_warmup, COUNT(golden_warmup));
    static const double constant[] = {0.025, 0.05, 0.075, 0.1, 0.1, 0.1};
    assert_rates("constant", &plan, constant, COUNT(constant));
    assert_null(schedule_find("linear"));
}

/* Every schedule: finite and at least 0 at all steps of odd plans, and beyond their end. */
static void test_odd_plans(void **state) {
    (void)state;
    static const SchedulePlan plans[] = {
        {.base = 1, .steps = 1, .steps_per_epoch = 1, .step_size = 1, .gamma = 0},
        {.base = 1, .steps = 5, .steps_per_epoch = 10, .warmup = 9, .step_size = 1, .gamma = 0.5},
        {.base = 0, .steps = 5, .steps_per_epoch = 2, .warmup = 5, .step_size = 9, .gamma = 1},
    };
    for (int s = 0; schedule_name(s); s++)
        for (size_t p = 0; p < COUNT(plans); p++)
            for (int64_t t = 0; t < 20; t++) {
                double rate = schedule_rate(schedule_find(schedule_name(s)), &plans[p], t);
                assert_true(rate >= 0 && rate <= plans[p].base);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),    cmocka_unit_test(test_resume_and_threads),
        cmocka_unit_test(test_arrays),    cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_odd_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
