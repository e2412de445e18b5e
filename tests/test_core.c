/* The ground everything stands on: errors, arena, shapes and tensors, the tape. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/arena.h"
#include "autograd/error.h"
#include "autograd/ops.h"
#include "autograd/tape.h"
#include "autograd/tensor.h"

/* ---- error ---- */

static void first_error_stays(void **state) {
    (void)state;
    Error error = {0};
    assert_false(error_set(&error, ERROR_INPUT, "file %s, byte %d", "a.bin", 7));
    assert_false(error_set(&error, ERROR_IO, "later"));
    assert_int_equal(error.code, ERROR_INPUT);
    assert_string_equal(error.message, "file a.bin, byte 7");
    assert_false(error_set(NULL, ERROR_IO, "nobody listens"));
}

static void long_message_is_cut(void **state) {
    (void)state;
    enum { LONG = 5000 };
    char *text = malloc(LONG + 1);
    assert_non_null(text);
    memset(text, 'x', LONG);
    text[LONG] = '\0';
    Error error = {0};
    error_set(&error, ERROR_IO, "%s", text);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
    assert_memory_equal(error.message, text, sizeof error.message - 1);
    free(text);
}

static void codes_have_meanings(void **state) {
    (void)state;
    assert_string_equal(error_meaning(ERROR_DIVERGED), "training diverged");
    assert_string_equal(error_meaning(77), "unknown");
}

/* ---- arena ---- */

static void memory_is_aligned_and_apart(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 1000, 1 << 16, 200000, 3, 1 << 20};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    Arena *arena = arena_new();
    unsigned char *memory[COUNT];
    for (int i = 0; i < COUNT; i++) {
        memory[i] = arena_alloc(arena, sizes[i]);
        assert_non_null(memory[i]);
        assert_int_equal((uintptr_t)memory[i] % 64, 0);
        memset(memory[i], i + 1, sizes[i]);
    }
    for (int i = 0; i < COUNT; i++)
        for (size_t k = 0; k < sizes[i]; k++)
            if (memory[i][k] != i + 1) fail_msg("block %d, byte %zu was overwritten", i, k);
    arena_free(arena);
    arena_free(NULL);
}

static void zeros_and_text(void **state) {
    (void)state;
    Arena *arena = arena_new();
    memset(arena_alloc(arena, 4096), 0xff, 4096);
    arena_reset(arena);
    const unsigned char *zeros = arena_zeros(arena, 4096);
    for (int i = 0; i < 4096; i++) assert_int_equal(zeros[i], 0);
    assert_string_equal(arena_text(arena, "%s %d", "layer", 12), "layer 12");
    assert_string_equal(arena_text(arena, "%s", ""), "");
    arena_free(arena);
}

/* Takes more than several first blocks hold; returns the newest block. */
static const void *take_much(Arena *arena) {
    for (int i = 1; i <= 40; i++) arena_alloc(arena, (size_t)i * 10000);
    return arena_mark(arena).block;
}

static void reset_reuses_one_block(void **state) {
    (void)state;
    Arena *arena = arena_new();
    take_much(arena);
    size_t used = arena_used(arena);
    assert_true(used >= 10000u * 40 * 41 / 2);
    arena_reset(arena);
    assert_int_equal(arena_used(arena), 0);
    const void *block = arena_mark(arena).block;
    for (int round = 0; round < 3; round++) {
        assert_ptr_equal(take_much(arena), block); /* a new block would now be the newest */
        assert_int_equal(arena_used(arena), used);
        arena_reset(arena);
        assert_ptr_equal(arena_mark(arena).block, block);
    }
    arena_free(arena);
}

static void rewind_crosses_blocks(void **state) {
    (void)state;
    Arena *arena = arena_new();
    ArenaMark empty = arena_mark(arena);
    char *kept = arena_alloc(arena, 100);
    memset(kept, 'k', 100);
    ArenaMark mark = arena_mark(arena);
    size_t used = arena_used(arena);
    void *next = arena_alloc(arena, 10);
    take_much(arena);
    arena_rewind(arena, mark);
    assert_int_equal(arena_used(arena), used);
    assert_ptr_equal(arena_alloc(arena, 10), next);
    for (int i = 0; i < 100; i++) assert_int_equal(kept[i], 'k');
    arena_rewind(arena, empty);
    assert_int_equal(arena_used(arena), 0);
    memset(arena_alloc(arena, 1000), 1, 1000);
    assert_int_equal(arena_used(arena), 1024);
    arena_free(arena);
}

static jmp_buf exhausted;
static void leave(size_t bytes) {
    (void)bytes;
    longjmp(exhausted, 1);
}

/* Runs one of the sizes that nobody can have; true if arena_exhausted was called. */
static bool is_exhausted(int what) {
    void (*before)(size_t) = arena_exhausted;
    Arena *arena = arena_new();
    Shape huge = SHAPE(INT32_MAX, INT32_MAX, INT32_MAX);
    arena_exhausted = leave;
    bool called = setjmp(exhausted) != 0;
    if (!called) {
        if (what == 0) size_mul(SIZE_MAX / 2, 3);
        if (what == 1) shape_count(&huge);
        if (what == 2) arena_alloc(arena, SIZE_MAX);
        if (what == 3) arena_alloc(arena, SIZE_MAX - 100);
    }
    arena_exhausted = before;
    arena_free(arena);
    return called;
}

static void impossible_sizes_are_refused(void **state) {
    (void)state;
    assert_int_equal(size_mul(1u << 20, 1u << 20), (size_t)1 << 40);
    for (int what = 0; what < 4; what++) assert_true(is_exhausted(what));
}

/* ---- tensor ---- */

static void shapes(void **state) {
    (void)state;
    char text[SHAPE_TEXT];
    Shape image = SHAPE(64, 1, 28, 28), scalar = {0};
    assert_int_equal(image.rank, 4);
    assert_int_equal(shape_count(&image), 64 * 28 * 28);
    assert_int_equal(shape_count(&scalar), 1);
    assert_string_equal(shape_text(&image, text), "64x1x28x28");
    assert_string_equal(shape_text(&scalar, text), "scalar");

    Shape sample = shape_sample(&image), batched = shape_batched(&sample, 64);
    assert_string_equal(shape_text(&sample, text), "1x28x28");
    assert_true(shape_equal(&batched, &image));
    assert_false(shape_equal(&sample, &image));
    assert_false(shape_equal(&SHAPE(2, 3), &SHAPE(3, 2)));
    assert_int_equal(shape_count(&SHAPE(3, 0, 5)), 0);

    Shape longest = {.rank = MAX_RANK};
    for (int i = 0; i < MAX_RANK; i++) longest.dim[i] = INT32_MAX;
    assert_int_equal(strlen(shape_text(&longest, text)), 8 * 10 + 7);
}

static void tensors(void **state) {
    (void)state;
    Arena *arena = arena_new();
    static const float data[] = {1, 2, 3, 4, 5, 6};
    Tensor *t = tensor_copy(arena, SHAPE(2, 3), data);
    assert_int_equal(t->count, 6);
    assert_memory_equal(t->data, data, sizeof data);
    assert_null(t->grad);
    assert_false(t->needs_grad);
    float *grad = tensor_grad(arena, t);
    for (int i = 0; i < 6; i++) assert_true(grad[i] == 0);
    grad[5] = 1;
    assert_ptr_equal(tensor_grad(arena, t), grad); /* made once */
    assert_true(t->grad[5] == 1);
    const Tensor *zeros = tensor_zeros(arena, SHAPE(1000));
    for (int i = 0; i < 1000; i++) assert_true(zeros->data[i] == 0);
    arena_free(arena);
}

static void finite_floats(void **state) {
    (void)state;
    float x[100] = {0};
    x[3] = 3.4e38f, x[4] = -3.4e38f, x[5] = 1e-45f;
    assert_true(floats_finite(x, 100));
    assert_true(floats_finite(x, 0));
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int k = 0; k < 3; k++)
        for (size_t i = 0; i < 100; i += 33) {
            float y[100] = {0};
            y[i] = bad[k];
            assert_false(floats_finite(y, 100));
        }
}

/* ---- tape ---- */

static Tensor *number(Arena *arena, float value, bool needs_grad) {
    Tensor *t = tensor_copy(arena, (Shape){0}, &value);
    t->needs_grad = needs_grad;
    return t;
}

/* loss = x a + x b: x is reached by two paths. */
static void gradients_of_two_paths_add(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Tape *tape = tape_new(true);
    Tensor *x = number(arena, 5, true), *a = number(arena, 3, false), *b = number(arena, 4, true);
    Tensor *loss = op_add(tape, op_mul(tape, x, a), op_mul(tape, x, b));
    assert_true(loss->data[0] == 35 && loss->needs_grad);
    tape_backward(tape, loss);
    assert_true(x->grad[0] == 7);
    assert_true(b->grad[0] == 5);
    assert_null(a->grad);
    tape_free(tape);
    arena_free(arena);
}

static void parameters_accumulate_over_steps(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Tape *tape = tape_new(true);
    Tensor *x = number(arena, 5, true), *a = number(arena, 3, false);
    tensor_grad(arena, x); /* the caller's memory: it outlives tape_reset */
    for (int step = 1; step <= 3; step++) {
        tape_reset(tape);
        tape_backward(tape, op_mul(tape, x, a));
        assert_true(x->grad[0] == 3.0f * (float)step);
    }
    tape_free(tape);
    arena_free(arena);
}

/* An output beside the loss is skipped, though it was recorded. */
static void unused_output_is_skipped(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Tape *tape = tape_new(true);
    Tensor *x = number(arena, 5, true), *a = number(arena, 3, true), *b = number(arena, 4, true);
    Tensor *loss = op_mul(tape, x, a), *aside = op_mul(tape, op_mul(tape, x, b), b);
    assert_int_equal(tape->count, 3);
    tape_backward(tape, loss);
    assert_true(x->grad[0] == 3);
    assert_null(aside->grad);
    assert_null(b->grad);
    tape_free(tape);
    arena_free(arena);
}

static void nothing_is_recorded_without_need(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Tensor *x = number(arena, 5, true), *c = number(arena, 2, false);
    Tape *evaluation = tape_new(false), *training = tape_new(true);
    Tensor *y = op_mul(evaluation, x, x);
    assert_true(y->data[0] == 25);
    assert_int_equal(evaluation->count, 0);
    y = op_mul(training, c, c); /* constants only */
    assert_false(y->needs_grad);
    assert_int_equal(training->count, 0);
    tape_free(evaluation);
    tape_free(training);
    arena_free(arena);
}

/* A step long enough to outgrow the first block and the first 64 entries. */
static void training_takes_no_new_memory(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Tape *tape = tape_new(true);
    Tensor *x = tensor_zeros(arena, SHAPE(4, 1000));
    x->needs_grad = true;
    tensor_grad(arena, x);
    size_t used = 0;
    const void *block = NULL;
    for (int step = 0; step < 6; step++) {
        tape_reset(tape);
        const void *begin = arena_mark(tape->arena).block;
        Tensor *y = x;
        for (int i = 0; i < 100; i++) y = op_relu(tape, op_add(tape, y, x));
        tape_backward(tape, op_cross_entropy(tape, y, (int[]){0, 1, 2, 3}));
        const void *end = arena_mark(tape->arena).block;
        if (step >= 2) {
            assert_int_equal(arena_used(tape->arena), used);
            assert_ptr_equal(begin, end);
            assert_ptr_equal(end, block);
        }
        used = arena_used(tape->arena);
        block = end;
    }
    assert_true(used > 100 * 2 * 4 * 1000 * sizeof(float));
    tape_free(tape);
    tape_free(NULL);
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_error_stays),
        cmocka_unit_test(long_message_is_cut),
        cmocka_unit_test(codes_have_meanings),
        cmocka_unit_test(memory_is_aligned_and_apart),
        cmocka_unit_test(zeros_and_text),
        cmocka_unit_test(reset_reuses_one_block),
        cmocka_unit_test(rewind_crosses_blocks),
        cmocka_unit_test(impossible_sizes_are_refused),
        cmocka_unit_test(shapes),
        cmocka_unit_test(tensors),
        cmocka_unit_test(finite_floats),
        cmocka_unit_test(gradients_of_two_paths_add),
        cmocka_unit_test(parameters_accumulate_over_steps),
        cmocka_unit_test(unused_output_is_skipped),
        cmocka_unit_test(nothing_is_recorded_without_need),
        cmocka_unit_test(training_takes_no_new_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
