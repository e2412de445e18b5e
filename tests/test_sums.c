/* Sums over rows against the same in double, for rows of every length around those of vectors; and
 * the gradient of a row's map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "autograd/kernels/sums.h"
#include "autograd/rng.h"

enum { LONGEST = 150, BEYOND = 8 };

/* A lane adds some LONGEST / 32 numbers, each rounded once more where it is a product: off by no
 * more than 16 roundings of the sum of absolute terms. A term left out or taken twice is off by
 * 1/150 of that at least. */
static void assert_sum(const char *what, size_t count, double got, double want, double size) {
    if (!(fabs(got - want) <= 16 * 0x1p-24 * size))
        fail_msg("%s of %zu: %.9g, not %.9g", what, count, got, want);
}

/* What a relu lets through of a where x - mean is beyond 1/2. */
static void check_cut(const float *a, const float *x, float mean, size_t count) {
    double sum = 0, dot = 0, sums[2];
    for (size_t i = 0; i < count; i++) {
        double d = (double)(x[i] - mean), passed = d > 0.5 ? (double)a[i] : 0;
        sum += passed, dot += passed * d;
    }
    row_sums(&(RowMap){mean, 2, -1, true}, x, a, count, sums);
    assert_sum("cut sums", count, sums[0], sum, sum);
    assert_sum("cut products", count, sums[1], dot, dot);
}

static void check_row(const float *a, const float *x, float mean, size_t count) {
    double sum = 0, dot = 0, dots = 0, own = 0, squares = 0, sums[2], moments[2];
    for (size_t i = 0; i < count; i++) {
        double term = (double)a[i] * ((double)x[i] - (double)mean);
        sum += (double)a[i], dot += term, dots += fabs(term), own += (double)x[i];
    }
    for (size_t i = 0; i < count; i++) squares += pow((double)x[i] - own / (double)count, 2);
    double around = squares + (double)count * pow(own / (double)count - (double)mean, 2);
    assert_sum("sum", count, row_sum(a, count), sum, sum);
    row_sums(&(RowMap){mean, 1, 0, false}, x, a, count, sums);
    assert_sum("sums", count, sums[0], sum, sum);
    assert_sum("products", count, sums[1], dot, dots);
    row_moments(x, count, moments);
    assert_sum("moments' sum", count, moments[0], own, own);
    assert_sum("squares", count, moments[1], squares, squares + (double)count * 0x1p-24);
    assert_sum("squares elsewhere", count, moments_around(moments, count, mean), around, around);
}

/* Numbers from 1 to 2, none of which a sum could lose; what lies around a row is not in it. */
static void test_rows(void **state) {
    (void)state;
    Rng rng = rng_stream(1, RNG_TEST, 0);
    float a[LONGEST + 2 * BEYOND], x[LONGEST + 2 * BEYOND];
    for (size_t count = 1; count <= LONGEST; count++) {
        for (int i = 0; i < LONGEST + 2 * BEYOND; i++) a[i] = x[i] = NAN;
        for (size_t i = BEYOND; i < BEYOND + count; i++) {
            a[i] = 1 + rng_uniform(&rng);
            x[i] = 1 + rng_uniform(&rng);
        }
        check_row(a + BEYOND, x + BEYOND, 0.75f, count);
        check_cut(a + BEYOND, x + BEYOND, 0.75f, count);
    }
}

/* Each element of the gradient as it is defined, whether it is stored or added, in the place of dy
 * or elsewhere. NaN is not positive, but passes. */
static void test_row_map_gradient(void **state) {
    (void)state;
    Rng rng = rng_stream(2, RNG_TEST, 0);
    float x[LONGEST], dy[LONGEST], dx[LONGEST], want[LONGEST];
    for (size_t count = 0; count <= LONGEST; count++)
        for (int kind = 0; kind < 8; kind++) {
            bool cut = kind & 1, store = kind & 2, in_place = kind & 4;
            RowMap map = {0.25f, -1.5f, 0.1f, cut};
            for (size_t i = 0; i < count; i++) {
                x[i] = i % 41 == 17 ? NAN : rng_normal(&rng);
                dy[i] = rng_normal(&rng);
                dx[i] = in_place ? dy[i] : rng_normal(&rng);
                float d = x[i] - map.mean, g = cut && map.scale * d + map.shift <= 0 ? 0 : dy[i];
                want[i] = map.scale * (g - 0.2f - 0.3f * d) + (store ? 0 : dx[i]);
            }
            row_map_gradient(&map, x, in_place ? dx : dy, count, 0.2f, 0.3f, store, dx);
            for (size_t i = 0; i < count; i++)
                assert_true(dx[i] == want[i] || (isnan(x[i]) && isnan(dx[i])));
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows),
                                       cmocka_unit_test(test_row_map_gradient)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
