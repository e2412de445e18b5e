/* The numbers of requantization: golden values, exact references, and the limits of each range. */
#include "autograd/rng.h"
#include "quant/fixedpoint.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

/* floor(acc m0 / 2^shift + 1/2), clamped; 128 bits leave nothing to think about. */
static int32_t exact(int32_t acc, Multiplier m, int32_t zero, int32_t lo, int32_t hi) {
    __int128 twice = ((__int128)acc * m.m0 * 2) + ((__int128)1 << m.shift);
    __int128 unit = (__int128)1 << (m.shift + 1);
    __int128 q = twice / unit - (twice % unit < 0) + zero;
    return q < lo ? lo : q > hi ? hi : (int32_t)q;
}

static int32_t rounded(int32_t acc, double m) {
    Multiplier multiplier;
    assert_true(multiplier_from(m, &multiplier));
    return requantize(acc, multiplier, 0, INT32_MIN, INT32_MAX);
}

/* The usual two roundings: to the high 32 bits of 2 acc m0, then by the rest of the shift, ties
 * away. */
static int32_t rounded_twice(int32_t acc, Multiplier m) {
    int64_t high = round_shift((int64_t)acc * m.m0, 31);
    int64_t half = (int64_t)1 << (m.shift - 32);
    return (int32_t)(high < 0 ? -((-high + half) >> (m.shift - 31))
                              : (high + half) >> (m.shift - 31));
}

static void test_golden(void **state) {
    (void)state;
    Multiplier m = {1583594044, 40}; /* 7984 M = 11.4991 */
    assert_int_equal(requantize(7984, m, 0, -128, 127), 11);
    assert_int_equal(requantize(-7984, m, 0, -128, 127), -11);
    assert_int_equal(rounded_twice(7984, m), 12);
    assert_int_equal(rounded_twice(-7984, m), -12);
    assert_int_equal(requantize(7984, m, 3, 0, 255), 14);
    assert_int_equal(requantize(7984, m, 3, 0, 13), 13);
    assert_int_equal(requantize(-7984, m, 3, 3, 255), 3); /* a ReLU: lo is the zero point */
}

static void test_ties_go_up(void **state) {
    (void)state;
    assert_int_equal(rounded(1, .5), 1);
    assert_int_equal(rounded(-1, .5), 0);
    assert_int_equal(rounded(-3, .5), -1);
    assert_int_equal(rounded(2, .25), 1);
    assert_int_equal(rounded(-2, .25), 0);
    assert_int_equal(rounded(-6, .25), -1);
    assert_int_equal(rounded(-3, .25), -1);
    assert_int_equal(rounded(-1, .25), 0);
}

static void test_one_and_above(void **state) {
    (void)state;
    assert_int_equal(rounded(-77, 1), -77);
    assert_int_equal(rounded(3, 1.5), 5);
    assert_int_equal(rounded(-3, 1.5), -4);
    assert_int_equal(rounded(3, 0x1p29), 3 << 29);
    assert_int_equal(rounded(INT32_MIN, 1), INT32_MIN);
    assert_int_equal(rounded(INT32_MAX, 1), INT32_MAX);
    assert_int_equal(rounded(INT32_MAX, 1000), INT32_MAX); /* clamped, not wrapped */
    assert_int_equal(rounded(INT32_MIN, 1000), INT32_MIN);
}

static void test_requantize_is_exact(void **state) {
    (void)state;
    Rng rng = rng_stream(1, RNG_TEST, 0);
    const int32_t accs[] = {0, 1, -1, INT32_MAX, INT32_MIN, INT32_MIN + 1, 1 << 30, -(1 << 30)};
    const int32_t m0s[] = {0, 1, 1 << 30, (1 << 30) + 1, INT32_MAX - 1, INT32_MAX};
    const int32_t limits[][2] = {{INT32_MIN, INT32_MAX}, {0, 255}, {-128, 127}, {7, 7}};
    const int32_t zeros[] = {0, 3, -128, 255, INT32_MIN, INT32_MAX};
    for (int i = 0; i < 400000; i++) {
        uint64_t bits = rng_next(&rng);
        /* full and small accumulators, all shifts */
        int32_t acc =
            bits & 1 ? accs[(bits >> 1) % 8] : (int32_t)(rng_next(&rng) >> 32) >> (bits >> 8) % 32;
        int32_t m0 = bits & 16 ? m0s[(bits >> 16) % 6] : (int32_t)(rng_next(&rng) >> 33);
        Multiplier m = {m0, 1 + (int32_t)((bits >> 24) % 62)};
        const int32_t *limit = limits[(bits >> 32) % 4];
        int32_t zero = zeros[(bits >> 40) % 6];
        assert_int_equal(requantize(acc, m, zero, limit[0], limit[1]),
                         exact(acc, m, zero, limit[0], limit[1]));
    }
}

/* At most half of the last of 31 bits. long double, with 64 bits, holds both sides exactly. */
static void test_relative_error(void **state) {
    (void)state;
    Rng rng = rng_stream(2, RNG_TEST, 0);
    for (int i = 0; i < 100000; i++) {
        double fraction = 1 + (double)(rng_next(&rng) >> 12) * 0x1p-52;
        double m = ldexp(fraction, -32 + (int)rng_below(&rng, 61)); /* 2^-32 .. 2^29 */
        Multiplier out;
        assert_true(multiplier_from(m, &out));
        assert_in_range(out.m0, 1 << 30, INT32_MAX);
        assert_in_range(out.shift, 1, 62);
        long double error = fabsl(ldexpl(out.m0, -out.shift) - (long double)m);
        assert_true(error <= ldexpl(m, -31));
    }
}

static void assert_multiplier(double m, int32_t m0, int32_t shift) {
    Multiplier out;
    assert_true(multiplier_from(m, &out));
    assert_int_equal(out.m0, m0);
    assert_int_equal(out.shift, shift);
}

static void test_multiplier_from(void **state) {
    (void)state;
    assert_multiplier(1, 1 << 30, 30);
    assert_multiplier(.75, 3 << 29, 31);
    assert_multiplier(nextafter(1, 0), 1 << 30, 30); /* 2^31 is halved */
    assert_multiplier(nextafter(1, 2), 1 << 30, 30);
    assert_multiplier(1 - 0x1p-31, INT32_MAX, 31);
    assert_multiplier(0x1p29, 1 << 30, 1);
    assert_multiplier(0x1p30 - .5, INT32_MAX, 1);
    assert_multiplier(1583594044 * 0x1p-40, 1583594044, 40);
}

static void test_tiny_factors_are_zero(void **state) {
    (void)state;
    assert_multiplier(0x1p-32, 1 << 30, 62);
    assert_multiplier(nextafter(0x1p-32, 0), 1 << 30, 62);
    assert_multiplier(0x1p-32 * (1 - 0x1p-30), 0, 62);
    assert_multiplier(DBL_MIN, 0, 62);
    assert_multiplier(DBL_TRUE_MIN, 0, 62);
    /* Nothing is lost: the largest sums times that factor are within half a code of 0. */
    const double largest = 0x1p-32 * (1 - 0x1p-30);
    const int32_t accs[] = {INT32_MIN, INT32_MAX};
    for (int i = 0; i < 2; i++) {
        assert_true(floor(accs[i] * largest + .5) == 0);
        assert_int_equal(rounded(accs[i], largest), 0);
    }
}

static void test_refused_factors(void **state) {
    (void)state;
    const double bad[] = {0,      -0.0, -1, NAN, INFINITY, -INFINITY, 0x1p30, nextafter(0x1p30, 0),
                          DBL_MAX};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Multiplier out[2] = {{7, 7}, {7, 7}};
        assert_false(multiplier_from(bad[i], out));
        assert_false(multipliers_joint(2, (double[]){1, bad[i]}, out));
        for (int k = 0; k < 2; k++) assert_true(out[k].m0 == 7 && out[k].shift == 7);
    }
    assert_false(multipliers_joint(0, NULL, NULL));
}

static void test_joint(void **state) {
    (void)state;
    Multiplier out[3];
    assert_true(multipliers_joint(3, (double[]){.25, .75, 0x1p-40}, out));
    assert_int_equal(out[0].m0, 1 << 29);
    assert_int_equal(out[1].m0, 3 << 29);
    assert_int_equal(out[2].m0, 0); /* 2^-9, rounded */
    for (int i = 0; i < 3; i++) assert_int_equal(out[i].shift, 31);
    /* one rounding of the sum: 1 * .25 + 1 * .25 is a tie, each alone is 0 */
    assert_true(multipliers_joint(2, (double[]){.25, .25}, out));
    assert_int_equal(round_shift((int64_t)out[0].m0 + out[1].m0, out[0].shift), 1);
    assert_int_equal(rounded(1, .25) + rounded(1, .25), 0);
    /* the largest rounds up to a power of two: all take its shift */
    assert_true(multipliers_joint(2, (double[]){.5, nextafter(1, 0)}, out));
    assert_int_equal(out[0].m0, 1 << 29);
    assert_int_equal(out[1].m0, 1 << 30);
    assert_int_equal(out[0].shift, 30);
}

static void test_joint_error(void **state) {
    (void)state;
    Rng rng = rng_stream(3, RNG_TEST, 0);
    for (int i = 0; i < 20000; i++) {
        double m[4];
        Multiplier out[4];
        int32_t largest = 0;
        for (int k = 0; k < 4; k++)
            m[k] = ldexp(1 + rng_uniform(&rng), -31 + (int)rng_below(&rng, 60));
        assert_true(multipliers_joint(4, m, out));
        for (int k = 0; k < 4; k++) {
            assert_int_equal(out[k].shift, out[0].shift);
            assert_true(fabsl(ldexpl(m[k], out[k].shift) - out[k].m0) <= .5L);
            if (out[k].m0 > largest) largest = out[k].m0;
        }
        assert_in_range(largest, 1 << 30, INT32_MAX);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_ties_go_up),
        cmocka_unit_test(test_one_and_above),
        cmocka_unit_test(test_requantize_is_exact),
        cmocka_unit_test(test_relative_error),
        cmocka_unit_test(test_multiplier_from),
        cmocka_unit_test(test_tiny_factors_are_zero),
        cmocka_unit_test(test_refused_factors),
        cmocka_unit_test(test_joint),
        cmocka_unit_test(test_joint_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
