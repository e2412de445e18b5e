/* Every kernel of the integer sum against 128-bit arithmetic: the same bytes, for every shift and
 * extreme multipliers, and not one read or written beside the arrays. */
#include "autograd/rng.h"
#include "quant/kernels/qadd.h"
#include "tests/kernels.h"

static uint8_t exact(const QAdd *q, const uint8_t *const *x, size_t i) {
    __int128 sum = (__int128)1 << (q->shift - 1), unit = (__int128)1 << q->shift;
    for (int k = 0; k < q->inputs; k++) sum += (__int128)q->m0[k] * (x[k][i] - q->in_zero[k]);
    __int128 code = sum / unit - (sum % unit < 0) + q->zero;
    return (uint8_t)(code < q->lo ? q->lo : code > q->hi ? q->hi : code);
}

static void check(const QAdd *q, size_t count, const uint8_t *const *x) {
    for (int i = 0; qadd_kernels[i]; i++) {
        const QAddKernel *kernel = qadd_kernels[i];
        if (!kernel->usable()) continue;
        Guarded y = guarded(count, 1);
        kernel->run(q, count, x, y.data);
        for (size_t n = 0; n < count; n++)
            if (y.data[n] != exact(q, x, n))
                fail_msg("%s: %d inputs, shift %d, byte %zu of %zu: %d, expected %d", kernel->name,
                         q->inputs, q->shift, n, count, y.data[n], exact(q, x, n));
        release(y);
    }
}

/* Random bytes, and 0 and 255 often. */
static uint8_t byte(Rng *rng) {
    uint32_t pick = rng_below(rng, 4);
    return pick == 0 ? 0 : pick == 1 ? 255 : (uint8_t)rng_next(rng);
}

static QAdd sum_of(Rng *rng, int inputs, int shift) {
    const int32_t extremes[] = {0, 1, 1 << 30, INT32_MAX};
    int32_t lo = rng_below(rng, 2) ? 0 : byte(rng), hi = rng_below(rng, 2) ? 255 : byte(rng);
    QAdd q = {.inputs = inputs, .shift = shift, .zero = byte(rng)};
    q.lo = lo < hi ? lo : hi;
    q.hi = lo < hi ? hi : lo;
    for (int k = 0; k < inputs; k++) {
        q.m0[k] = rng_below(rng, 2) ? extremes[rng_below(rng, 4)]
                                    : (int32_t)(rng_next(rng) >> 33) >> rng_below(rng, 4);
        q.in_zero[k] = byte(rng);
    }
    return q;
}

static void test_all_shifts_and_sizes(void **state) {
    (void)state;
    Rng rng = rng_stream(1, RNG_TEST, 0);
    for (int inputs = 1; inputs <= QADD_MAX_INPUTS; inputs++)
        for (int shift = 1; shift <= 62; shift++) {
            size_t count = shift < 40 ? (size_t)shift : 200 + rng_below(&rng, 9);
            Guarded source[QADD_MAX_INPUTS];
            const uint8_t *x[QADD_MAX_INPUTS];
            for (int k = 0; k < inputs; k++) {
                source[k] = guarded(count, 1);
                x[k] = source[k].data;
                for (size_t i = 0; i < count; i++) source[k].data[i] = byte(&rng);
            }
            for (int trial = 0; trial < 8; trial++) {
                QAdd q = sum_of(&rng, inputs, shift);
                check(&q, count, x);
            }
            for (int k = 0; k < inputs; k++) release(source[k]);
        }
}

/* All pairs of codes with ordinary factors: 65536 sums, every one of which a net may meet. */
static void test_all_pairs(void **state) {
    (void)state;
    static uint8_t left[65536], right[65536];
    const uint8_t *x[] = {left, right};
    Rng rng = rng_stream(2, RNG_TEST, 0);
    for (int i = 0; i < 65536; i++) left[i] = (uint8_t)(i >> 8), right[i] = (uint8_t)i;
    for (int trial = 0; trial < 20; trial++) {
        QAdd q = sum_of(&rng, 2, 30 + (int)rng_below(&rng, 3));
        check(&q, sizeof left, x);
    }
}

/* (10 - 3) 1/2 + (5 - 9) 1/4 = 2.5, up to 3, and the zero point 100. */
static void test_by_hand(void **state) {
    (void)state;
    const uint8_t a = 10, b = 5;
    QAdd q = {2, {1 << 30, 1 << 29}, {3, 9}, 31, 100, 0, 255};
    uint8_t y;
    qadd_scalar.run(&q, 1, (const uint8_t *[]){&a, &b}, &y);
    assert_int_equal(y, 103);
}

static void test_choice(void **state) {
    (void)state;
    int i = 0;
    while (!qadd_kernels[i]->usable()) i++;
    assert_ptr_equal(qadd_kernel(), qadd_kernels[i]);
    while (qadd_kernels[i + 1]) i++;
    assert_ptr_equal(qadd_kernels[i], &qadd_scalar);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_all_shifts_and_sizes),
        cmocka_unit_test(test_all_pairs),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
