/* What an observer remembers, and what the methods make of it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/rng.h"
#include "quant/method.h"

enum { COUNT = 5000, BATCHES = 40 };

/* Bell-shaped values of a batch's own size and offset; `relu` cuts the negative ones. */
static void random_batch(Rng *rng, bool relu, float x[COUNT]) {
    float size = exp2f((float)rng_below(rng, 12) - 6), offset = size * rng_normal(rng);
    for (int i = 0; i < COUNT; i++) {
        x[i] = size * rng_normal(rng) + offset;
        if (relu && x[i] < 0) x[i] = 0;
    }
}

static void extremes_and_averages(void **state) {
    (void)state;
    Rng rng = rng_stream(1, RNG_TEST, 0);
    Observer seen = {0};
    float x[COUNT], least = INFINITY, most = -INFINITY;
    double average_min = 0, average_max = 0;
    for (int n = 0; n < BATCHES; n++) {
        random_batch(&rng, false, x);
        float lo = INFINITY, hi = -INFINITY;
        for (int i = 0; i < COUNT; i++) {
            lo = fminf(lo, x[i]);
            hi = fmaxf(hi, x[i]);
        }
        least = fminf(least, lo);
        most = fmaxf(most, hi);
        average_min += n ? 0.01 * ((double)lo - average_min) : (double)lo;
        average_max += n ? 0.01 * ((double)hi - average_max) : (double)hi;
        assert_true(observer_update(&seen, x, COUNT));
        assert_true(seen.min == least && seen.max == most);
        /* one float rounding of about 2^-24 a step */
        assert_true(fabs((double)seen.average_min - average_min) <= 1e-5 * fabs(average_min));
        assert_true(fabs((double)seen.average_max - average_max) <= 1e-5 * fabs(average_max));
    }
    assert_int_equal(seen.batches, BATCHES);
}

static void not_finite_is_refused(void **state) {
    (void)state;
    static const float wrong[] = {NAN, INFINITY, -INFINITY};
    Arena *arena = arena_new();
    float x[COUNT];
    Rng rng = rng_stream(2, RNG_TEST, 0);
    Observer seen = {.histogram = histogram_new(arena)};
    for (int k = 0; k < 30; k++) {
        random_batch(&rng, k % 2, x);
        if (k == 15) assert_true(observer_update(&seen, x, COUNT));
        x[(size_t)k * 7919 % COUNT] = wrong[k % 3];
        Observer before = seen;
        Histogram counts = *seen.histogram;
        assert_false(observer_update(&seen, x, COUNT));
        assert_memory_equal(&seen, &before, sizeof seen);
        assert_memory_equal(seen.histogram, &counts, sizeof counts);
    }
    arena_free(arena);
}

/* Growing loses nothing: the counts are those of a histogram that had its last width from the
 * start. */
static void histogram_counts_every_value(void **state) {
    (void)state;
    for (int trial = 0; trial < 4; trial++) {
        Arena *arena = arena_new();
        Rng rng = rng_stream(3, RNG_TEST, (uint64_t)trial);
        Observer seen = {.histogram = histogram_new(arena)};
        float *all = arena_alloc(arena, sizeof(float) * COUNT * BATCHES);
        for (int n = 0; n < BATCHES; n++) {
            random_batch(&rng, trial % 2, all + n * COUNT);
            assert_true(observer_update(&seen, all + n * COUNT, COUNT));
        }
        const Histogram *h = seen.histogram;
        Histogram *direct = arena_zeros(arena, sizeof *direct);
        direct->width = h->width;
        for (int i = 0; i < COUNT * BATCHES; i++) {
            if (all[i] == 0)
                direct->zeros++;
            else
                direct->count[HISTOGRAM_HALF + (int)floor((double)all[i] / (double)h->width)]++;
        }
        assert_memory_equal(h, direct, sizeof *h);
        float largest =
            fmaxf(-seen.min, seen.max); /* the width is the smallest power of two that serves */
        assert_true(largest < h->width * HISTOGRAM_HALF &&
                    largest >= h->width / 2 * HISTOGRAM_HALF);
        arena_free(arena);
    }
}

static Observer seen_of(Arena *arena, uint64_t stream, bool relu, int batches) {
    Rng rng = rng_stream(4, RNG_TEST, stream);
    Observer seen = {.histogram = histogram_new(arena)};
    float x[COUNT];
    for (int n = 0; n < batches; n++) {
        random_batch(&rng, relu, x);
        observer_update(&seen, x, COUNT);
    }
    return seen;
}

static const RangeSpec unsigned8 = {{.bits = 8}, 99.9};
static const RangeSpec signed4 = {{.bits = 4, .is_signed = true, .symmetric = true}, 99};

static void every_method_stays_within_what_was_seen(void **state) {
    (void)state;
    for (int m = 0; method_list[m]; m++) {
        const Method *method = method_list[m];
        assert_true(method->name[0] && method->summary[0]);
        assert_ptr_equal(method_find(method->name), method);
        assert_string_equal(method_name(m), method->name);
        for (uint64_t trial = 0; trial < 12; trial++) {
            Arena *arena = arena_new();
            Observer seen = seen_of(arena, trial, trial % 2, 1 + (int)trial);
            Histogram before = *seen.histogram;
            float lo, hi;
            method->range(&seen, trial % 3 ? &unsigned8 : &signed4, &lo, &hi);
            assert_true(lo <= hi && isfinite(lo) && isfinite(hi));
            /* a symmetric search names its larger end as hi */
            float reach = trial % 3 ? seen.max : fmaxf(-seen.min, seen.max);
            assert_true(lo >= fminf(seen.min, 0) && hi <= fmaxf(reach, 0));
            assert_memory_equal(seen.histogram, &before,
                                sizeof before); /* choosing changes nothing */
            arena_free(arena);
        }
    }
    assert_null(method_find("no such"));
    assert_null(method_name(1000));
}

static void constant_and_zero_values(void **state) {
    (void)state;
    static const float constants[] = {0, 1, -3, 1e-30f, 1e30f};
    for (int m = 0; method_list[m]; m++)
        for (size_t k = 0; k < sizeof constants / sizeof *constants; k++) {
            Arena *arena = arena_new();
            Observer seen = {.histogram = histogram_new(arena)};
            float x[4] = {constants[k], constants[k], constants[k], constants[k]}, lo, hi;
            assert_true(observer_update(&seen, x, 4));
            method_list[m]->range(&seen, &unsigned8, &lo, &hi);
            assert_true(lo <= hi && isfinite(lo) && isfinite(hi));
            arena_free(arena);
        }
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The ends lie within a bin of the exact quantiles of the sorted values. */
static void percentile_is_the_quantile(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Rng rng = rng_stream(5, RNG_TEST, 0);
    Observer seen = {.histogram = histogram_new(arena)};
    float x[COUNT], lo, hi;
    for (int i = 0; i < COUNT; i++) x[i] = rng_normal(&rng) + 0.5f;
    observer_update(&seen, x, COUNT);
    qsort(x, COUNT, sizeof *x, ascending);
    for (int cut = 0; cut < COUNT / 4; cut += 7) { /* so many at each end */
        RangeSpec spec = {{.bits = 8}, 100.0 * (COUNT - 2 * cut) / COUNT};
        method_find("percentile")->range(&seen, &spec, &lo, &hi);
        /* a bin's width, and one place in the order: the share is a rounded number */
        float bin = seen.histogram->width * 1.01f;
        int inner = cut, outer = cut ? cut - 1 : 0;
        assert_true(lo >= x[outer] - bin && lo <= x[inner] + bin);
        assert_true(hi <= x[COUNT - 1 - outer] + bin && hi >= x[COUNT - 1 - inner] - bin);
    }
    arena_free(arena);
}

static double squared_error(const Observer *seen, const QuantSpec *spec, float lo, float hi) {
    Arena *arena = arena_new();
    Bins *bins = arena_alloc(arena, sizeof *bins);
    bins_of(seen->histogram, bins);
    QParams q = qparams_new(arena, spec, 1);
    qparams_set_range(&q, 0, spec->symmetric, lo, hi);
    double sum = 0;
    for (int i = 0; i < bins->bins; i++) {
        double d = (double)(dequantize(&q, 0, quantize(&q, 0, bins->value[i])) - bins->value[i]);
        sum += bins->count[i] * d * d;
    }
    arena_free(arena);
    return sum;
}

/* No other range of a grid of trials is better by more than the search's own coarseness. */
static void mse_finds_the_least_error(void **state) {
    (void)state;
    for (uint64_t trial = 0; trial < 6; trial++) {
        Arena *arena = arena_new();
        Observer seen = seen_of(arena, 100 + trial, true, 3);
        const QuantSpec spec = {.bits = 2 + (int)trial};
        float lo, hi;
        method_find("mse")->range(&seen, &(RangeSpec){spec, 0}, &lo, &hi);
        double found = squared_error(&seen, &spec, lo, hi);
        for (int i = 1; i <= 128; i++) {
            double error = squared_error(&seen, &spec, 0, seen.max * (float)i / 128);
            assert_true(found <= error * (1 + 1e-9));
        }
        arena_free(arena);
    }
}

/* A lone outlier is cut off; values spread evenly over the range are not. */
static void entropy_cuts_outliers_only(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Rng rng = rng_stream(6, RNG_TEST, 0);
    const Method *entropy = method_find("entropy");
    float x[COUNT * 8], lo, hi;
    for (int i = 0; i < COUNT * 8; i++) x[i] = fabsf(rng_normal(&rng));
    x[0] = 40;
    Observer bell = {.histogram = histogram_new(arena)};
    observer_update(&bell, x, COUNT * 8);
    entropy->range(&bell, &unsigned8, &lo, &hi);
    assert_true(hi > 2 && hi < 12);
    for (int i = 0; i < COUNT * 8; i++) x[i] = 1 + (float)i / COUNT;
    Observer even = {.histogram = histogram_new(arena)};
    observer_update(&even, x, COUNT * 8);
    entropy->range(&even, &unsigned8, &lo, &hi);
    assert_true(hi > 0.98f * even.max);
    arena_free(arena);
}

/* A constant that half of the values are, as a background makes one in every channel, hardly
 * moves the threshold: a grid moves a constant by half a step at most, wherever the range ends. */
static void entropy_is_blind_to_a_constant(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Rng rng = rng_stream(7, RNG_TEST, 0);
    const Method *entropy = method_find("entropy");
    float x[COUNT * 8], constant[COUNT * 8], lo, hi, without;
    for (int i = 0; i < COUNT * 8; i++) constant[i] = 0.7f;
    Observer bell = {.histogram = histogram_new(arena)};
    for (int batch = 0; batch < 4; batch++) {
        for (int i = 0; i < COUNT * 8; i++) x[i] = fabsf(rng_normal(&rng));
        observer_update(&bell, x, COUNT * 8);
    }
    entropy->range(&bell, &unsigned8, &lo, &without);
    for (int batch = 0; batch < 4; batch++) observer_update(&bell, constant, COUNT * 8);
    entropy->range(&bell, &unsigned8, &lo, &hi);
    /* the divergence is flat around its minimum, which the height of one bin moves by some percent;
     * charged as smeared, the constant would take away half of the range */
    assert_true(fabsf(hi - without) <= 0.1f * without);
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(extremes_and_averages),
        cmocka_unit_test(not_finite_is_refused),
        cmocka_unit_test(histogram_counts_every_value),
        cmocka_unit_test(every_method_stays_within_what_was_seen),
        cmocka_unit_test(constant_and_zero_values),
        cmocka_unit_test(percentile_is_the_quantile),
        cmocka_unit_test(mse_finds_the_least_error),
        cmocka_unit_test(entropy_cuts_outliers_only),
        cmocka_unit_test(entropy_is_blind_to_a_constant),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
