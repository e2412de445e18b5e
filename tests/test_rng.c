/* Random streams: the numbers themselves, their distributions, permutations. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "autograd/rng.h"

/* The numbers come from an independent computation in Python; the first two rows are also
 * splitmix64's well-known outputs for the states 0 and 1234567. */
static void known_answers(void **state) {
    (void)state;
    static const struct {
        Rng rng;
        uint64_t expected[3];
    } plain[] = {
        {{0, 0}, {0xe220a8397b1dcdafu, 0x6e789e6aa1b965f4u, 0x06c45d188009454fu}},
        {{1234567, 0}, {0x599ed017fb08fc85u, 0x2c73f08458540fa5u, 0x883ebce5a3f27c77u}},
    };
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        Rng rng = plain[i].rng;
        for (int k = 0; k < 3; k++) assert_true(rng_next(&rng) == plain[i].expected[k]);
    }
    static const struct {
        uint64_t seed, purpose, index, expected[3];
    } streams[] = {
        {0, RNG_INIT, 0, {0xecf79027cbd96584u, 0x87804add9dfef81cu, 0x59d77c54f36b33a0u}},
        {42, RNG_DROPOUT, 7, {0xf791daf1a63a0773u, 0x037e168c19a5beaau, 0x9b32bf0a20ade330u}},
        {UINT64_MAX,
         RNG_TEST,
         UINT64_MAX,
         {0xdcc17549748b214au, 0xefe87c0bcae36bf6u, 0x0ae80f50d847848bu}},
    };
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        Rng rng = rng_stream(streams[i].seed, streams[i].purpose, streams[i].index);
        for (int k = 0; k < 3; k++) assert_true(rng_next(&rng) == streams[i].expected[k]);
    }
}

static void at_is_the_sequence_of_next(void **state) {
    (void)state;
    Rng drawn = rng_stream(3, RNG_TEST, 4);
    const Rng fresh = drawn;
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t next = rng_next(&drawn);
        assert_true(next == rng_at(&fresh, i));
        assert_true(next == rng_at(&drawn, i)); /* whatever was drawn */
    }
}

/* Bounds are 5 standard errors of the estimate, and the streams are fixed: no run differs from
 * another. */
static void uniform_and_normal_moments(void **state) {
    (void)state;
    enum { COUNT = 200000 };
    Rng rng = rng_stream(1, RNG_TEST, 0);
    double sum = 0, squares = 0;
    for (int i = 0; i < COUNT; i++) {
        double u = (double)rng_uniform(&rng);
        assert_true(u >= 0 && u < 1);
        sum += u, squares += u * u;
    }
    assert_true(fabs(sum / COUNT - 1 / 2.0) < 5 * sqrt(1 / 12.0 / COUNT));
    assert_true(fabs(squares / COUNT - 1 / 3.0) < 5 * sqrt(4 / 45.0 / COUNT));

    double moment[5] = {0};
    for (int i = 0; i < COUNT; i++) {
        double z = (double)rng_normal(&rng);
        for (int k = 1; k <= 4; k++) moment[k] += pow(z, k) / COUNT;
    }
    assert_true(fabs(moment[1]) < 5 * sqrt(1.0 / COUNT)); /* variance of z^k: 1, 2, 15, 96 */
    assert_true(fabs(moment[2] - 1) < 5 * sqrt(2.0 / COUNT));
    assert_true(fabs(moment[3]) < 5 * sqrt(15.0 / COUNT));
    assert_true(fabs(moment[4] - 3) < 5 * sqrt(96.0 / COUNT));
}

static void below_is_even(void **state) {
    (void)state;
    enum { LIMIT = 7, COUNT = 70000 };
    Rng rng = rng_stream(2, RNG_TEST, 0);
    int seen[LIMIT] = {0};
    for (int i = 0; i < COUNT; i++) {
        uint32_t draw = rng_below(&rng, LIMIT);
        assert_true(draw < LIMIT);
        seen[draw]++;
    }
    for (int i = 0; i < LIMIT; i++) /* 5 standard deviations of a count, sqrt(n p (1 - p)) = 93 */
        assert_in_range(seen[i], COUNT / LIMIT - 463, COUNT / LIMIT + 463);
    for (int i = 0; i < 100; i++) assert_int_equal(rng_below(&rng, 1), 0);
}

static void permutation_holds_each_number_once(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    uint32_t order[COUNT], other[COUNT];
    Rng rng = rng_stream(5, RNG_SHUFFLE, 0);
    rng_permutation(&rng, order, COUNT);
    bool seen[COUNT] = {false};
    int in_place = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_true(order[i] < COUNT && !seen[order[i]]);
        seen[order[i]] = true;
        in_place += order[i] == i;
    }
    assert_true(in_place < 10); /* Poisson of mean 1 */
    rng = rng_stream(5, RNG_SHUFFLE, 0);
    rng_permutation(&rng, other, COUNT);
    assert_memory_equal(order, other, sizeof order);
    rng = rng_stream(5, RNG_SHUFFLE, 1);
    rng_permutation(&rng, other, COUNT);
    assert_memory_not_equal(order, other, sizeof order);
    rng_permutation(&rng, other, 0);
    rng_permutation(&rng, other, 1);
    assert_int_equal(other[0], 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(at_is_the_sequence_of_next),
        cmocka_unit_test(uniform_and_normal_moments),
        cmocka_unit_test(below_is_even),
        cmocka_unit_test(permutation_holds_each_number_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
