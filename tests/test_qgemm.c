/* Every integer matrix kernel against a plain 64-bit loop: the same bytes, for any shape, bit width
 * and multiplier, with the arrays set against pages that may not be touched. */
#include "autograd/rng.h"
#include "quant/kernels/qgemm.h"
#include "tests/kernels.h"

typedef enum { RANDOM, HIGH_HIGH, HIGH_LOW, ALTERNATING, LOWEST, FILLS } Fill;
typedef enum { ORDINARY, ANY_SHIFT, MULTIPLIERS } Scaling;

typedef struct Case {
    int rows, outputs, depth, bits;
    Fill fill;
    Scaling scaling;
    int32_t zero, lo, hi;
    size_t x_gap, y_gap; /* bytes, elements between rows */
} Case;

/* The product's inputs and the two answers expected, each in a buffer that shows its canaries. */
typedef struct Problem {
    QGemm q;
    size_t x_stride, y_stride, y_count;
    Guarded x, weight, weight_zero, bias, multiplier, y, acc;
} Problem;

static uint8_t input_value(const Case *c, Rng *rng, int k) {
    int top = (1 << c->bits) - 1;
    if (c->fill == RANDOM) return (uint8_t)rng_below(rng, (uint32_t)top + 1);
    return (uint8_t)(c->fill == ALTERNATING && k % 3 == 0 ? 0 : top);
}

static int8_t weight_value(const Case *c, Rng *rng, int k) {
    int top = (1 << (c->bits - 1)) - 1;
    switch (c->fill) {
    case RANDOM: return (int8_t)((int)rng_below(rng, 2 * (uint32_t)top + 1) - top);
    case HIGH_HIGH: return (int8_t)top;
    case HIGH_LOW: return (int8_t)-top;
    case ALTERNATING: return (int8_t)(k % 2 ? top : -top);
    default: return -128;
    }
}

/* Ordinary factors spread the sums over a few hundred codes. */
static Multiplier multiplier_value(const Case *c, Rng *rng) {
    const int32_t m0s[] = {0, 1, 1 << 30, INT32_MAX, INT32_MAX - 1};
    int32_t any = (1 << 30) + (int32_t)rng_below(rng, 1u << 30);
    if (c->scaling == ORDINARY) return (Multiplier){any, 32 + 2 * c->bits - (int)rng_below(rng, 4)};
    uint32_t pick = rng_below(rng, 10);
    if (pick >= 5) any = pick > 7 ? any >> rng_below(rng, 31) : any;
    return (Multiplier){pick < 5 ? m0s[pick] : any, 1 + (int32_t)rng_below(rng, 62)};
}

/* Half of them small; the others anything, so that sums wrap. */
static int32_t bias_value(Rng *rng) {
    uint64_t bits = rng_next(rng);
    if (bits % 16 == 0) return bits & 16 ? INT32_MAX : INT32_MIN;
    return (int32_t)(bits >> 32) >> (bits & 32 ? 16 : 0);
}

static void expect(Problem *p, int rows) {
    const QGemm *q = &p->q;
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < q->outputs; o++) {
            const uint8_t *x = p->x.data + (size_t)r * p->x_stride;
            int64_t sum = q->bias[o];
            for (int k = 0; k < q->depth; k++)
                sum += x[k] * (q->weight[(size_t)o * (size_t)q->depth + (size_t)k] -
                               (q->weight_zero ? q->weight_zero[o] : 0));
            int32_t acc = (int32_t)(uint32_t)(uint64_t)sum;
            size_t at = (size_t)r * p->y_stride + (size_t)o;
            ((int32_t *)p->acc.data)[at] = acc;
            p->y.data[at] = exact_code(acc, q->multiplier[o], q->zero, q->lo, q->hi);
        }
}

static Problem problem(const Case *c, Rng *rng) {
    Problem p = {.x_stride = (size_t)c->depth + c->x_gap,
                 .y_stride = (size_t)c->outputs + c->y_gap};
    size_t outputs = (size_t)c->outputs, weights = outputs * (size_t)c->depth;
    size_t before = c->rows ? (size_t)c->rows - 1 : 0, last = c->rows > 0;
    p.y_count = before * p.y_stride + last * outputs;
    p.x = guarded(before * p.x_stride + last * (size_t)c->depth, 1);
    p.weight = guarded(weights, 1);
    p.weight_zero = guarded(outputs * sizeof(int32_t), sizeof(int32_t));
    p.bias = guarded(outputs * sizeof(int32_t), sizeof(int32_t));
    p.multiplier = guarded(outputs * sizeof(Multiplier), sizeof(int32_t));
    p.y = guarded(p.y_count, 1);
    p.acc = guarded(p.y_count * sizeof(int32_t), sizeof(int32_t));
    for (int r = 0; r < c->rows; r++)
        for (int k = 0; k < c->depth; k++)
            p.x.data[(size_t)r * p.x_stride + (size_t)k] = input_value(c, rng, k);
    for (size_t i = 0; i < weights; i++)
        p.weight.data[i] = (uint8_t)weight_value(c, rng, (int)(i % (size_t)c->depth));
    for (size_t o = 0; o < outputs; o++) {
        ((int32_t *)p.bias.data)[o] = bias_value(rng);
        ((int32_t *)p.weight_zero.data)[o] =
            c->fill % 2 ? 127 - 255 * (int)(o % 2) : (int)rng_below(rng, 256) - 128;
        ((Multiplier *)p.multiplier.data)[o] = multiplier_value(c, rng);
    }
    p.q = (QGemm){.outputs = c->outputs,
                  .depth = c->depth,
                  .zero = c->zero,
                  .lo = c->lo,
                  .hi = c->hi,
                  .weight = (int8_t *)p.weight.data,
                  .weight_zero = rng_below(rng, 2) ? (int32_t *)p.weight_zero.data : NULL,
                  .bias = (int32_t *)p.bias.data,
                  .multiplier = (Multiplier *)p.multiplier.data};
    expect(&p, c->rows);
    return p;
}

static void check_kernel(const QGemmKernel *kernel, const Case *c, const Problem *p) {
    QGemm q = p->q;
    Guarded packed = guarded(kernel->packed_bytes(&q), 64);
    Guarded scratch = guarded(kernel->scratch_bytes(&q), 64);
    Guarded y = guarded(p->y_count, 1);
    Guarded acc = guarded(p->y_count * sizeof(int32_t), sizeof(int32_t));
    kernel->pack(&q, packed.data);
    q.packed = packed.data;
    kernel->run(&q, c->rows, p->x.data, p->x_stride, y.data, p->y_stride, scratch.data);
    memset(scratch.data, CANARY, kernel->scratch_bytes(&q)); /* nothing may be expected in it */
    kernel->accumulate(&q, c->rows, p->x.data, p->x_stride, (int32_t *)acc.data, p->y_stride,
                       scratch.data);
    /* whole buffers: the gaps between rows still hold their canaries */
    bool same = !memcmp(acc.data, p->acc.data, p->y_count * sizeof(int32_t)) &&
                !memcmp(y.data, p->y.data, p->y_count);
    if (!same)
        fail_msg("%s: rows %d outputs %d depth %d bits %d fill %d scaling %d", kernel->name,
                 c->rows, c->outputs, c->depth, c->bits, c->fill, c->scaling);
    release(packed), release(scratch), release(y), release(acc);
}

static void check_case(const Case *c, Rng *rng) {
    Problem p = problem(c, rng);
    for (int i = 0; qgemm_kernels[i]; i++)
        if (qgemm_kernels[i]->usable()) check_kernel(qgemm_kernels[i], c, &p);
    release(p.x), release(p.weight), release(p.weight_zero), release(p.bias), release(p.multiplier),
        release(p.y), release(p.acc);
}

static Case random_case(Rng *rng, int rows, int outputs, int depth) {
    const int32_t limits[][3] = {{0, 0, 255},  {128, 0, 255}, {5, 5, 255}, {255, 0, 255},
                                 {3, 17, 100}, {8, 0, 15},    {1, 1, 3},   {77, 9, 9}};
    const int32_t *limit = limits[rng_below(rng, 8)];
    return (Case){rows,
                  outputs,
                  depth,
                  2 + (int)rng_below(rng, 7),
                  RANDOM,
                  (Scaling)rng_below(rng, MULTIPLIERS),
                  limit[0],
                  limit[1],
                  limit[2],
                  rng_below(rng, 2) * rng_below(rng, 40),
                  rng_below(rng, 2) * rng_below(rng, 40)};
}

static void test_random_shapes(void **state) {
    (void)state;
    Rng rng = rng_stream(1, RNG_TEST, 0);
    for (int i = 0; i < 600; i++) {
        int rows = 1 + (int)rng_below(&rng, 40), outputs = 1 + (int)rng_below(&rng, 70);
        Case c = random_case(&rng, rows, outputs, 1 + (int)rng_below(&rng, 700));
        check_case(&c, &rng);
    }
}

/* Every remainder of every tile: rows, outputs, odd and even depth; and nothing at all. */
static void test_every_tail(void **state) {
    (void)state;
    Rng rng = rng_stream(2, RNG_TEST, 0);
    for (int rows = 0; rows <= 26; rows++)
        for (int outputs = 0; outputs <= 34; outputs++) {
            Case c = random_case(&rng, rows, outputs, (rows + 3 * outputs) % 18);
            check_case(&c, &rng);
        }
}

static void test_extreme_inputs(void **state) {
    (void)state;
    Rng rng = rng_stream(3, RNG_TEST, 0);
    for (Fill fill = HIGH_HIGH; fill < FILLS; fill++)
        for (int bits = 2; bits <= 8; bits++)
            for (int depth = 1; depth < 700; depth += 137) {
                Case c = random_case(&rng, 7, 25, depth);
                c.bits = bits;
                c.fill = fill;
                check_case(&c, &rng);
            }
}

/* 255 * 127 * depth passes 2^31 at depth 66312: sums that just fit, and sums that wrap. */
static void test_sums_to_the_last_bit(void **state) {
    (void)state;
    Rng rng = rng_stream(4, RNG_TEST, 0);
    for (Fill fill = HIGH_HIGH; fill <= HIGH_LOW; fill++)
        for (int depth = 66311; depth <= 66313; depth++) {
            Case c = random_case(&rng, 2, 3, depth);
            c.bits = 8;
            c.fill = fill;
            check_case(&c, &rng);
        }
}

/* All shifts with the largest and smallest m0 on the largest and smallest sums. */
static void test_extreme_multipliers(void **state) {
    (void)state;
    const int32_t m0s[] = {0, 1, 511, 1 << 30, (1 << 30) + 1, INT32_MAX};
    const int32_t sums[] = {
        0, 1, -1, 2, -2, 255, -256, INT32_MAX, INT32_MAX - 1, INT32_MIN, INT32_MIN + 1};
    enum { M0S = 6, SHIFTS = 62, SUMS = 11 };
    static Multiplier multiplier[M0S * SHIFTS * SUMS];
    static int32_t bias[M0S * SHIFTS * SUMS];
    static uint8_t expected[M0S * SHIFTS * SUMS], y[M0S * SHIFTS * SUMS];
    QGemm q = {.outputs = M0S * SHIFTS * SUMS,
               .zero = 100,
               .hi = 255,
               .bias = bias,
               .multiplier = multiplier,
               .weight = (const int8_t *)""}; /* depth 0: the sum is the bias */
    for (int i = 0; i < q.outputs; i++) {
        multiplier[i] = (Multiplier){m0s[i % M0S], 1 + i / M0S % SHIFTS};
        bias[i] = sums[i / M0S / SHIFTS];
        expected[i] = exact_code(bias[i], multiplier[i], q.zero, q.lo, q.hi);
    }
    for (int k = 0; qgemm_kernels[k]; k++) {
        const QGemmKernel *kernel = qgemm_kernels[k];
        if (!kernel->usable()) continue;
        Guarded packed = guarded(kernel->packed_bytes(&q), 64);
        Guarded scratch = guarded(kernel->scratch_bytes(&q), 64);
        kernel->pack(&q, packed.data);
        q.packed = packed.data;
        kernel->run(&q, 1, (const uint8_t *)"", 0, y, sizeof y, scratch.data);
        assert_memory_equal(y, expected, sizeof y);
        release(packed), release(scratch);
    }
}

/* One output by hand, with signed codes: q in -128 .. 127 with Z = -3 are the bytes q + 128, Z 125.
 * (10+3) 2 + (-128+3) (-127) + (127+3) 1 + 4 = 26 + 15875 + 130 + 4 = 16035; over 128: 125.27. */
static void test_signed_codes_as_bytes(void **state) {
    (void)state;
    const int8_t weight[] = {2, -127, 1};
    const int32_t bias = 4 - 125 * (2 - 127 + 1);
    const uint8_t x[] = {10 + 128, 0, 255};
    Multiplier m;
    assert_true(multiplier_from(1 / 128., &m));
    QGemm q = {1, 3, weight, NULL, &bias, &m, .zero = 128 - 20, .lo = 0, .hi = 255, .packed = NULL};
    uint8_t y;
    int32_t acc;
    qgemm_scalar.run(&q, 1, x, 3, &y, 1, NULL);
    qgemm_scalar.accumulate(&q, 1, x, 3, &acc, 1, NULL);
    assert_int_equal(acc, 16035);
    assert_int_equal(y - 128, 125 - 20);
}

static void test_choice(void **state) {
    (void)state;
    const QGemmKernel *chosen = qgemm_kernel();
    assert_true(chosen->usable());
    int i = 0;
    for (; qgemm_kernels[i] != chosen; i++) assert_false(qgemm_kernels[i]->usable());
    while (qgemm_kernels[i + 1]) i++;
    assert_ptr_equal(qgemm_kernels[i], &qgemm_scalar);
    assert_true(qgemm_scalar.usable());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signed_codes_as_bytes),
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_every_tail),
        cmocka_unit_test(test_random_shapes),
        cmocka_unit_test(test_extreme_inputs),
        cmocka_unit_test(test_sums_to_the_last_bit),
        cmocka_unit_test(test_extreme_multipliers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
