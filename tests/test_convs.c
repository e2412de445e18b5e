/* linear, conv and the pools, forward and back, against their definitions as plain loops; and the
 * promise that the number of threads changes no bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "autograd/kernels/parallel.h"
#include "autograd/op.h"
#include "autograd/ops.h"
#include "tests/reference.h"

/* A leaf whose gradient begins with integers too: backward must add to what is there. */
static Tensor *integer_leaf(Arena *arena, Rng *rng, Shape shape) {
    Tensor *leaf = tensor_new(arena, shape);
    fill_integers(rng, leaf->data, leaf->count);
    fill_integers(rng, tensor_grad(arena, leaf), leaf->count);
    leaf->needs_grad = true;
    return leaf;
}

static float *copied(Arena *arena, const float *x, size_t count) {
    return memcpy(arena_alloc(arena, sizeof *x * count), x, sizeof *x * count);
}

/* A gradient arrives at y, as if from a loss, and goes back through the last entry. */
static void backward_from(Tape *tape, Rng *rng, Tensor *y) {
    fill_integers(rng, tensor_grad(tape->arena, y), y->count);
    const Entry *entry = &tape->entries[tape->count - 1];
    assert_ptr_equal(entry->out, y);
    entry->op->backward(entry);
}

/* For each output of a convolution, all the products that belong to it: forward into y when dx is
 * NULL, else back from y's gradient. */
static void naive_conv(const Patches *p, int groups, Tensor *x, Tensor *w, Tensor *b, Tensor *y,
                       float *dx, float *dw, float *db) {
    int places = patches_places(p), outs = patches_columns(p), plane = (int)patches_plane(p);
    int outputs = w->shape.dim[0], depth = w->shape.dim[1], channels = x->shape.dim[1];
    for (int i = 0; i < (int)y->count; i++) {
        int position = i % outs, o = i / outs % outputs, n = i / outs / outputs;
        float sum = b ? b->data[o] : 0, g = dx ? y->grad[i] : 0;
        if (dx && b) db[o] += g;
        for (int c = 0; c < depth; c++)
            for (int k = 0; k < places; k++) {
                int from = window_source(p, k, position), wi = (o * depth + c) * places + k;
                if (from < 0) continue;
                int xi = (n * channels + o / (outputs / groups) * depth + c) * plane + from;
                sum += w->data[wi] * x->data[xi];
                if (dx) dx[xi] += w->data[wi] * g;
                if (dx) dw[wi] += x->data[xi] * g;
            }
        if (!dx) y->data[i] = sum;
    }
}

static void test_conv(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Tape *tape = tape_new(true);
    Rng rng = rng_stream(3, RNG_TEST, 0);
    for (int trial = 0; trial < 300; trial++) {
        arena_reset(arena);
        tape_reset(tape);
        Geometry g = random_geometry(&rng);
        if (trial % 8 == 0) g.window = window_identity(); /* patches need no copy */
        int groups = random_between(&rng, 1, 3), multiple = random_between(&rng, 1, 3);
        Shape wide = g.x, weights = g.x;
        wide.dim[1] = g.channels * groups;
        weights.dim[0] = multiple * groups;
        for (int i = 0; i < g.rank; i++) weights.dim[2 + i] = g.window.kernel[SPATIAL - g.rank + i];
        Tensor *x = integer_leaf(arena, &rng, wide), *w = integer_leaf(arena, &rng, weights);
        Tensor *b = trial % 3 ? integer_leaf(arena, &rng, SHAPE(weights.dim[0])) : NULL;
        ConvSpec spec = {g.window, groups};

        Tensor *y = op_conv(tape, x, w, b, &spec);
        Tensor *wanted = tensor_new(arena, window_shape(&g.window, &wide, weights.dim[0]));
        assert_true(shape_equal(&y->shape, &wanted->shape));
        Patches p = patches_of(&g.window, g.channels, &wide);
        naive_conv(&p, groups, x, w, b, wanted, NULL, NULL, NULL);
        assert_same("conv y", y->data, wanted->data, y->count);

        float *dx = copied(arena, x->grad, x->count), *dw = copied(arena, w->grad, w->count);
        float *db = b ? copied(arena, b->grad, b->count) : NULL;
        Tensor *skipped = (Tensor *[]){x, w, b, NULL, NULL, NULL}[trial % 6];
        float *kept = skipped ? copied(arena, skipped->grad, skipped->count) : NULL;
        if (skipped) skipped->needs_grad = false;
        backward_from(tape, &rng, y);
        naive_conv(&p, groups, x, w, b, y, dx, dw, db);
        assert_same("conv dx", x->grad, skipped == x ? kept : dx, x->count);
        assert_same("conv dw", w->grad, skipped == w ? kept : dw, w->count);
        if (b) assert_same("conv db", b->grad, skipped == b ? kept : db, b->count);
    }
    tape_free(tape);
    arena_free(arena);
}

static void test_linear(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Tape *tape = tape_new(true);
    Rng rng = rng_stream(4, RNG_TEST, 0);
    for (int trial = 0; trial < 60; trial++) {
        arena_reset(arena);
        tape_reset(tape);
        int batch = random_between(&rng, 1, 3 * CHUNK), depth = random_between(&rng, 1, 300);
        int outputs = random_between(&rng, 1, 150); /* several tiles of dw, and parts of tiles */
        Tensor *x = integer_leaf(arena, &rng, SHAPE(batch, depth));
        Tensor *w = integer_leaf(arena, &rng, SHAPE(outputs, depth));
        Tensor *b = trial % 3 ? integer_leaf(arena, &rng, SHAPE(outputs)) : NULL;
        float *dx = copied(arena, x->grad, x->count), *dw = copied(arena, w->grad, w->count);
        float *db = b ? copied(arena, b->grad, b->count) : NULL;
        Tensor *y = op_linear(tape, x, w, b);
        assert_true(shape_equal(&y->shape, &SHAPE(batch, outputs)));
        backward_from(tape, &rng, y);
        for (int n = 0; n < batch; n++)
            for (int o = 0; o < outputs; o++) {
                float sum = b ? b->data[o] : 0, g = y->grad[n * outputs + o];
                for (int k = 0; k < depth; k++) {
                    sum += x->data[n * depth + k] * w->data[o * depth + k];
                    dx[n * depth + k] += g * w->data[o * depth + k];
                    dw[o * depth + k] += g * x->data[n * depth + k];
                }
                if (b) db[o] += g;
                assert_true(y->data[n * outputs + o] == sum);
            }
        assert_same("linear dx", x->grad, dx, x->count);
        assert_same("linear dw", w->grad, dw, w->count);
        if (b) assert_same("linear db", b->grad, db, b->count);
    }
    tape_free(tape);
    arena_free(arena);
}

/* Values -4 .. 4 repeat within a window, so that equal ones are common. */
static void test_pools(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Tape *tape = tape_new(true);
    Rng rng = rng_stream(5, RNG_TEST, 0);
    for (int trial = 0; trial < 300; trial++) {
        arena_reset(arena);
        tape_reset(tape);
        Geometry g = random_geometry(&rng);
        Patches p = patches_of(&g.window, g.channels, &g.x);
        int places = patches_places(&p), outs = patches_columns(&p), plane = (int)patches_plane(&p);
        bool largest = trial % 2, counts = trial % 4 < 2; /* largest value or mean; padding too */
        Tensor *x = integer_leaf(arena, &rng, g.x);
        float *dx = copied(arena, x->grad, x->count);
        Window passing = g.window; /* the caller's window may be gone before backward */
        Tensor *y = largest ? op_maxpool(tape, x, &passing) : op_avgpool(tape, x, &passing, counts);
        passing = (Window){0};
        backward_from(tape, &rng, y);
        Shape wanted = window_shape(&g.window, &g.x, g.channels);
        assert_true(shape_equal(&y->shape, &wanted));
        for (int i = 0; i < (int)y->count; i++) {
            int first = i / outs * plane, winner = -1, inside = 0;
            float sum = 0;
            for (int k = 0; k < places; k++) inside += window_source(&p, k, i % outs) >= 0;
            float divisor = counts ? (float)places : inside ? (float)inside : 1;
            for (int k = 0; k < places; k++) {
                int from = window_source(&p, k, i % outs);
                if (from < 0) continue;
                sum += x->data[first + from];
                if (!largest) dx[first + from] += y->grad[i] / divisor;
                if (winner < 0 || x->data[first + from] > x->data[winner]) winner = first + from;
            }
            if (!largest)
                assert_true(y->data[i] == sum / divisor);
            else if (winner < 0)
                assert_true(y->data[i] == -INFINITY);
            else
                assert_true(y->data[i] == x->data[winner]);
            if (largest && winner >= 0) dx[winner] += y->grad[i];
        }
        /* avgpool's sums are in another order here: at most 28 terms, sums of at most 4 (the start)
         * and 4 (places times 4 / places), so 28 roundings of 8 * 2^-24 */
        float tolerance = largest ? 0 : 2e-5f;
        for (size_t i = 0; i < x->count; i++) assert_true(fabsf(x->grad[i] - dx[i]) <= tolerance);
    }
    tape_free(tape);
    arena_free(arena);
}

static void test_maxpool_keeps_nan(void **state) {
    (void)state;
    Tape *tape = tape_new(true);
    Window window = window_identity();
    window.kernel[2] = window.stride[2] = 3;
    for (int place = 0; place < 3; place++) {
        Tensor *x = tensor_copy(tape->arena, SHAPE(1, 1, 6), (float[]){1, 2, INFINITY, 4, -7, 5});
        x->data[place] = NAN;
        Tensor *y = op_maxpool(tape, x, &window);
        assert_true(isnan(y->data[0]));
        assert_true(y->data[1] == 5);
    }
    tape_free(tape);
}

/* ---- the same bits at any number of threads ---- */

/* All results of a small step on real-valued data, one after the other; returns their number. */
static size_t run_step(Arena *arena, float *results) {
    Tape *tape = tape_new(true);
    Rng rng = rng_stream(6, RNG_TEST, 0);
    Tensor *leaf[] = {
        sample_leaf(arena, &rng, SHAPE(5 * CHUNK + 3, 4, 9, 8), 1.0f),
        sample_leaf(arena, &rng, SHAPE(6, 2, 3, 2), 1.0f),
        sample_leaf(arena, &rng, SHAPE(6), 1.0f),
        sample_leaf(arena, &rng, SHAPE(5 * CHUNK + 3, 700), 1.0f),
        sample_leaf(arena, &rng, SHAPE(130, 700), 1.0f),
        sample_leaf(arena, &rng, SHAPE(130), 1.0f),
    };
    enum { LEAVES = sizeof leaf / sizeof *leaf };
    ConvSpec spec = {window_identity(), 2};
    spec.window.kernel[1] = 3, spec.window.kernel[2] = 2, spec.window.padding[1] = 1;
    Window pool = spec.window;
    Tensor *out[4];
    out[0] = op_conv(tape, leaf[0], leaf[1], leaf[2], &spec);
    out[1] = op_maxpool(tape, out[0], &pool);
    out[2] = op_avgpool(tape, out[1], &pool, true);
    out[3] = op_linear(tape, leaf[3], leaf[4], leaf[5]);
    for (int i = 0; i < LEAVES; i++) tensor_grad(arena, leaf[i]);
    for (int i = 0; i < 4; i++) {
        float *g = tensor_grad(tape->arena, out[i]);
        for (size_t j = 0; j < out[i]->count; j++) g[j] = rng_normal(&rng);
    }
    for (int i = tape->count - 1; i >= 0; i--) tape->entries[i].op->backward(&tape->entries[i]);

    size_t used = 0;
    for (int i = 0; i < 4; used += out[i++]->count)
        memcpy(results + used, out[i]->data, sizeof(float) * out[i]->count);
    for (int i = 0; i < LEAVES; used += leaf[i++]->count)
        memcpy(results + used, leaf[i]->grad, sizeof(float) * leaf[i]->count);
    tape_free(tape);
    return used;
}

static void test_same_bits(void **state) {
    (void)state;
    static const int threads[] = {1, 2, 7};
    enum { MOST = 400000 };
    static float results[3][MOST];
    size_t count[3];
    Arena *arena = arena_new();
    for (int t = 0; t < 3; t++) {
        restart_pool(threads[t]);
        count[t] = run_step(arena, results[t]);
        assert_in_range(count[t], 1, MOST);
        assert_true(floats_finite(results[t], count[t]));
    }
    for (int t = 1; t < 3; t++) {
        assert_int_equal(count[t], count[0]);
        assert_memory_equal(results[t], results[0], sizeof(float) * count[0]);
    }
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),      cmocka_unit_test(test_linear),
        cmocka_unit_test(test_pools),     cmocka_unit_test(test_maxpool_keeps_nan),
        cmocka_unit_test(test_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, stop_pool);
}
