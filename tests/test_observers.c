/* What every observer promises, and the formulas of each. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/op.h"
#include "quant/observer.h"
#include "quant/quantizer.h"
#include "tests/scratch.h"

enum { CHANNELS = 3, COUNT = 57, BATCHES = 300 };

typedef struct Batch {
    float x[CHANNELS * COUNT], lo[CHANNELS], hi[CHANNELS];
} Batch;

/* Channels of different sizes and offsets; in some batches a channel is constant, or all of one
 * sign. */
static Batch random_batch(Rng *rng) {
    Batch b;
    for (int c = 0; c < CHANNELS; c++) {
        float size = rng_below(rng, 5) ? powf(10, (float)c) : 0,
              offset = 3 * size * rng_normal(rng);
        b.lo[c] = INFINITY;
        b.hi[c] = -INFINITY;
        for (int i = 0; i < COUNT; i++) {
            float x = size * rng_normal(rng) + offset;
            b.x[c * COUNT + i] = x;
            b.lo[c] = fminf(b.lo[c], x);
            b.hi[c] = fmaxf(b.hi[c], x);
        }
    }
    return b;
}

static Observer *observer_of(Arena *arena, const ObserverKind *kind) {
    Observer *observer = observer_new(arena, kind, CHANNELS);
    assert_int_equal(observer->batches, 0);
    for (int c = 0; c < CHANNELS; c++) assert_true(observer->min[c] == 0 && observer->max[c] == 0);
    return observer;
}

static void rows_are_complete(void **state) {
    (void)state;
    assert_non_null(observer_list[0]);
    for (int i = 0; observer_list[i]; i++) {
        assert_true(observer_list[i]->name[0] && observer_list[i]->summary[0]);
        assert_ptr_equal(observer_find(observer_list[i]->name), observer_list[i]);
    }
    assert_null(observer_find("no such"));
}

/* Of one batch every observer has seen the extremes: a later one may choose less, none more. */
static void first_batch_initialises(void **state) {
    (void)state;
    Rng rng = rng_stream(1, RNG_TEST, 0);
    for (int i = 0; observer_list[i]; i++) {
        Arena *arena = arena_new();
        Observer *observer = observer_of(arena, observer_list[i]);
        Batch b = random_batch(&rng);
        assert_true(observer_update(observer, b.x, COUNT));
        assert_int_equal(observer->batches, 1);
        for (int c = 0; c < CHANNELS; c++) {
            assert_true(observer->min[c] == b.lo[c]); /* not half way from 0 */
            assert_true(observer->max[c] == b.hi[c]);
        }
        arena_free(arena);
    }
}

static void ranges_stay_within_what_was_seen(void **state) {
    (void)state;
    for (int i = 0; observer_list[i]; i++) {
        Rng rng = rng_stream(2, RNG_TEST, 0);
        Arena *arena = arena_new();
        Observer *observer = observer_of(arena, observer_list[i]);
        float lo[CHANNELS] = {0}, hi[CHANNELS] = {0};
        for (int n = 0; n < BATCHES; n++) {
            Batch b = random_batch(&rng);
            assert_true(observer_update(observer, b.x, COUNT));
            for (int c = 0; c < CHANNELS; c++) {
                lo[c] = n ? fminf(lo[c], b.lo[c]) : b.lo[c];
                hi[c] = n ? fmaxf(hi[c], b.hi[c]) : b.hi[c];
                float slack =
                    1e-6f * fmaxf(-lo[c], hi[c]); /* roundings of an average of equal values */
                assert_true(observer->min[c] >= lo[c] - slack && observer->max[c] <= hi[c] + slack);
                assert_true(observer->min[c] <= observer->max[c]);
            }
        }
        assert_int_equal(observer->batches, BATCHES);
        arena_free(arena);
    }
}

/* A value that is no number leaves no trace, wherever it stands, whatever was seen before. */
static void not_finite_is_refused(void **state) {
    (void)state;
    static const float wrong[] = {NAN, INFINITY, -INFINITY};
    Rng rng = rng_stream(3, RNG_TEST, 0);
    for (int i = 0; observer_list[i]; i++)
        for (int before = 0; before < 2; before++) {
            Arena *arena = arena_new();
            Observer *observer = observer_of(arena, observer_list[i]);
            Batch b = random_batch(&rng);
            if (before) assert_true(observer_update(observer, b.x, COUNT));
            Observer kept = *observer;
            float min[CHANNELS], max[CHANNELS];
            memcpy(min, observer->min, sizeof min);
            memcpy(max, observer->max, sizeof max);
            for (size_t k = 0; k < CHANNELS * COUNT; k++) {
                Batch bad = random_batch(&rng);
                bad.x[k] = wrong[k % 3];
                assert_false(observer_update(observer, bad.x, COUNT));
            }
            assert_memory_equal(observer, &kept, sizeof kept);
            assert_memory_equal(observer->min, min, sizeof min);
            assert_memory_equal(observer->max, max, sizeof max);
            arena_free(arena);
        }
}

static void minmax_is_the_extremes(void **state) {
    (void)state;
    Rng rng = rng_stream(4, RNG_TEST, 0);
    Arena *arena = arena_new();
    Observer *observer = observer_of(arena, observer_find("minmax"));
    float lo[CHANNELS], hi[CHANNELS];
    for (int n = 0; n < BATCHES; n++) {
        Batch b = random_batch(&rng);
        assert_true(observer_update(observer, b.x, COUNT));
        for (int c = 0; c < CHANNELS; c++) {
            lo[c] = n ? fminf(lo[c], b.lo[c]) : b.lo[c];
            hi[c] = n ? fmaxf(hi[c], b.hi[c]) : b.hi[c];
            assert_true(observer->min[c] == lo[c] && observer->max[c] == hi[c]);
        }
    }
    arena_free(arena);
}

/* m += 0.01 (x - m), against the same in double. Each step rounds by 3 times 2^-24 of the largest
 * value and forgets a hundredth of the error before: at most 100 times that remains. */
static void moving_average_is_its_formula(void **state) {
    (void)state;
    Rng rng = rng_stream(5, RNG_TEST, 0);
    Arena *arena = arena_new();
    Observer *observer = observer_of(arena, observer_find("moving-average"));
    double lo[CHANNELS], hi[CHANNELS], largest[CHANNELS] = {0};
    for (int n = 0; n < BATCHES; n++) {
        Batch b = random_batch(&rng);
        assert_true(observer_update(observer, b.x, COUNT));
        for (int c = 0; c < CHANNELS; c++) {
            lo[c] = n ? lo[c] + 0.01 * ((double)b.lo[c] - lo[c]) : (double)b.lo[c];
            hi[c] = n ? hi[c] + 0.01 * ((double)b.hi[c] - hi[c]) : (double)b.hi[c];
            largest[c] = fmax(largest[c], fmax(-(double)b.lo[c], (double)b.hi[c]));
            double allowed = 300 * 0x1p-24 * largest[c];
            assert_true(fabs((double)observer->min[c] - lo[c]) <= allowed);
            assert_true(fabs((double)observer->max[c] - hi[c]) <= allowed);
        }
    }
    arena_free(arena);
}

/* --- the quantizer around it --- */

static void quantizer_observes_then_rounds(void **state) {
    (void)state;
    Rng rng = rng_stream(6, RNG_TEST, 0);
    Tape *tape = tape_new(false);
    Arena *arena = arena_new();
    Error error = {0};
    Run run = {.tape = tape, .error = &error};
    QuantSpec spec = {.bits = 8};
    Quantizer *q = quantizer_new(arena, "conv1", &spec, observer_find("minmax"));
    Tensor *x = sample_leaf(arena, &rng, SHAPE(4, 5), 1);
    assert_false(q->ready);
    assert_ptr_equal(quantizer_pass(q, &run, x, STE_CODE), x); /* both switches off: nothing */
    assert_false(q->ready);
    q->observing = true;
    assert_ptr_equal(quantizer_pass(q, &run, x, STE_CODE), x);
    assert_true(q->ready && q->observer->batches == 1);
    q->faking = true;
    const Tensor *y = quantizer_pass(q, &run, x, STE_CODE);
    for (size_t i = 0; i < x->count; i++)
        assert_true(y->data[i] == dequantize(&q->q, 0, quantize(&q->q, 0, x->data[i])));

    q->observing = false;
    Observer kept = *q->observer;
    x->data[3] = 1e9f;
    quantizer_pass(q, &run, x, STE_CODE);
    assert_memory_equal(q->observer, &kept, sizeof kept);
    assert_int_equal(error.code, ERROR_NONE);
    q->observing = true;
    x->data[3] = NAN;
    float scale = q->q.scale[0];
    quantizer_pass(q, &run, x, STE_CODE);
    assert_error(&error, ERROR_DIVERGED, "conv1");
    assert_memory_equal(q->observer, &kept, sizeof kept);
    assert_true(q->q.scale[0] == scale);
    arena_free(arena);
    tape_free(tape);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_complete),
        cmocka_unit_test(first_batch_initialises),
        cmocka_unit_test(ranges_stay_within_what_was_seen),
        cmocka_unit_test(not_finite_is_refused),
        cmocka_unit_test(minmax_is_the_extremes),
        cmocka_unit_test(moving_average_is_its_formula),
        cmocka_unit_test(quantizer_observes_then_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
