/* Every integer matrix kernel against a plain 64-bit loop: the same bytes, for any shape, bit width
 * and multiplier, with the arrays set against pages that may not be touched. A kernel that this
 * processor cannot run is skipped, and said to be. */
#include <stdio.h>
#include <stdlib.h>

#include "autograd/rng.h"
#include "quant/kernels/qgemm.h"
#include "tests/kernels.h"

typedef enum { RANDOM, HIGH_HIGH, HIGH_LOW, ALTERNATING, LOWEST, FILLS } Fill;
typedef enum { ORDINARY, ANY_SHIFT, MULTIPLIERS } Scaling;

typedef struct Case {
    int rows, outputs, runs, run, bits, pool;
    Fill fill;
    Scaling scaling;
    int32_t zero, lo, hi;
    size_t run_gap, x_gap, y_gap; /* bytes, elements between runs, between rows */
} Case;

/* The product's inputs and the two answers expected, each in a buffer that shows its canaries. */
typedef struct Problem {
    QGemm q;
    size_t x_count, y_stride, y_count, acc_count;
    Guarded x, weight, weight_zero, bias, multiplier, y, acc;
    size_t *row, *run; /* where rows and runs begin */
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
    default: return (int8_t) - (top + 1);
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

static int32_t exact_sum(const Problem *p, int r, int o) {
    const QGemm *q = &p->q;
    const int8_t *w = q->weight + (size_t)o * (size_t)q->runs * (size_t)q->run;
    int64_t sum = q->bias[o];
    for (int j = 0; j < q->runs; j++)
        for (int k = 0; k < q->run; k++)
            sum += p->x.data[p->row[r] + p->run[j] + (size_t)k] *
                   (*w++ - (q->weight_zero ? q->weight_zero[o] : 0));
    return (int32_t)(uint32_t)(uint64_t)sum;
}

/* The code of a pool is the largest of its rows' codes. */
static void expect(Problem *p, int rows, int pool) {
    const QGemm *q = &p->q;
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < q->outputs; o++) {
            int32_t acc = exact_sum(p, r, o);
            uint8_t code = exact_code(acc, q->multiplier[o], q->zero, q->lo, q->hi);
            uint8_t *y = &p->y.data[(size_t)(r / pool) * p->y_stride + (size_t)o];
            ((int32_t *)p->acc.data)[(size_t)r * p->y_stride + (size_t)o] = acc;
            *y = r % pool && *y > code ? *y : code;
        }
}

/* Elements of `count` items of `size` that lie `stride` apart. */
static size_t extent(int count, size_t stride, size_t size) {
    return count ? (size_t)(count - 1) * stride + size : 0;
}

static size_t *every(int count, size_t stride) {
    size_t *at = malloc(sizeof *at * ((size_t)count + 1));
    for (int i = 0; i < count; i++) at[i] = (size_t)i * stride;
    return at;
}

static Problem problem(const Case *c, Rng *rng) {
    size_t outputs = (size_t)c->outputs, run = (size_t)c->run;
    size_t depth = (size_t)c->runs * run, weights = outputs * depth;
    size_t row = extent(c->runs, run + c->run_gap, run);
    Problem p = {.y_stride = outputs + c->y_gap,
                 .x_count = extent(c->rows, row + c->x_gap, row) + QGEMM_SLACK,
                 .row = every(c->rows, row + c->x_gap),
                 .run = every(c->runs, run + c->run_gap)};
    p.y_count = extent(c->rows / c->pool, p.y_stride, outputs);
    p.acc_count = extent(c->rows, p.y_stride, outputs);
    p.x = guarded(p.x_count, 1);
    p.weight = guarded(weights, 1);
    p.weight_zero = guarded(outputs * sizeof(int32_t), sizeof(int32_t));
    p.bias = guarded(outputs * sizeof(int32_t), sizeof(int32_t));
    p.multiplier = guarded(outputs * sizeof(Multiplier), sizeof(int32_t));
    p.y = guarded(p.y_count, 1);
    p.acc = guarded(p.acc_count * sizeof(int32_t), sizeof(int32_t));
    for (int r = 0; r < c->rows; r++)
        for (int k = 0; k < (int)depth; k++)
            p.x.data[p.row[r] + p.run[k / c->run] + (size_t)(k % c->run)] = input_value(c, rng, k);
    for (size_t i = 0; i < weights; i++)
        p.weight.data[i] = (uint8_t)weight_value(c, rng, (int)(i % depth));
    for (size_t o = 0; o < outputs; o++) {
        ((int32_t *)p.bias.data)[o] = bias_value(rng);
        ((int32_t *)p.weight_zero.data)[o] =
            c->fill % 2 ? 127 - 255 * (int)(o % 2) : (int)rng_below(rng, 256) - 128;
        ((Multiplier *)p.multiplier.data)[o] = multiplier_value(c, rng);
    }
    p.q = (QGemm){.outputs = c->outputs,
                  .runs = c->runs,
                  .run = c->run,
                  .zero = c->zero,
                  .lo = c->lo,
                  .hi = c->hi,
                  .weight = (int8_t *)p.weight.data,
                  .weight_zero = rng_below(rng, 2) ? (int32_t *)p.weight_zero.data : NULL,
                  .bias = (int32_t *)p.bias.data,
                  .multiplier = (Multiplier *)p.multiplier.data};
    expect(&p, c->rows, c->pool);
    return p;
}

/* x as the kernel's elements, against a page that may not be touched. */
static Guarded elements_of(const QGemmKernel *kernel, const Problem *p) {
    Guarded x = guarded(p->x_count * kernel->element, kernel->element);
    for (size_t i = 0; i < p->x_count; i++)
        if (kernel->element == 1)
            x.data[i] = p->x.data[i];
        else
            ((uint16_t *)x.data)[i] = p->x.data[i];
    return x;
}

static void check_kernel(const QGemmKernel *kernel, const Case *c, const Problem *p) {
    QGemm q = p->q;
    Guarded packed = guarded(kernel->packed_bytes(&q), 64);
    Guarded x = elements_of(kernel, p), y = guarded(p->y_count, 1);
    Guarded acc = guarded(p->acc_count * sizeof(int32_t), sizeof(int32_t));
    QRows rows = {x.data, p->row, p->run};
    kernel->pack(&q, packed.data);
    q.packed = packed.data;
    kernel->run(&q, &rows, c->rows, c->pool, y.data, p->y_stride);
    kernel->accumulate(&q, &rows, c->rows, (int32_t *)acc.data, p->y_stride);
    /* whole buffers: the gaps between rows still hold their canaries */
    bool same = !memcmp(acc.data, p->acc.data, p->acc_count * sizeof(int32_t)) &&
                !memcmp(y.data, p->y.data, p->y_count);
    if (!same)
        fail_msg("%s: rows %d outputs %d runs %d of %d bits %d pool %d fill %d scaling %d",
                 kernel->name, c->rows, c->outputs, c->runs, c->run, c->bits, c->pool, c->fill,
                 c->scaling);
    release(packed), release(x), release(y), release(acc);
}

static int checked[8]; /* cases of each kernel */

static void check_case(const Case *c, Rng *rng) {
    Problem p = problem(c, rng);
    for (int i = 0; qgemm_kernels[i]; i++)
        if (qgemm_kernels[i]->usable() && qgemm_kernels[i]->fits(&p.q)) {
            check_kernel(qgemm_kernels[i], c, &p);
            checked[i]++;
        }
    release(p.x), release(p.weight), release(p.weight_zero), release(p.bias), release(p.multiplier),
        release(p.y), release(p.acc), free(p.row), free(p.run);
}

/* A third of the cases with a pool; rows are then rounded up. */
static Case random_case(Rng *rng, int rows, int outputs, int runs, int run) {
    const int32_t limits[][3] = {{0, 0, 255},  {128, 0, 255}, {5, 5, 255}, {255, 0, 255},
                                 {3, 17, 100}, {8, 0, 15},    {1, 1, 3},   {77, 9, 9}};
    const int32_t *limit = limits[rng_below(rng, 8)];
    int pool = rng_below(rng, 3) ? 1 : 1 + (int)rng_below(rng, QGEMM_MAX_POOL);
    return (Case){.rows = (rows + pool - 1) / pool * pool,
                  .outputs = outputs,
                  .runs = runs,
                  .run = run,
                  .bits = 2 + (int)rng_below(rng, 7),
                  .pool = pool,
                  .scaling = (Scaling)rng_below(rng, MULTIPLIERS),
                  .zero = limit[0],
                  .lo = limit[1],
                  .hi = limit[2],
                  .run_gap = rng_below(rng, 2) * rng_below(rng, 40),
                  .x_gap = rng_below(rng, 2) * rng_below(rng, 40),
                  .y_gap = rng_below(rng, 2) * rng_below(rng, 40)};
}

static void test_random_shapes(void **state) {
    (void)state;
    Rng rng = rng_stream(1, RNG_TEST, 0);
    for (int i = 0; i < 600; i++) {
        int rows = 1 + (int)rng_below(&rng, 120), outputs = 1 + (int)rng_below(&rng, 100);
        int runs = 1 + (int)rng_below(&rng, 12),
            run = 1 + (int)rng_below(&rng, 300 / (uint32_t)runs);
        Case c = random_case(&rng, rows, outputs, runs, run);
        check_case(&c, &rng);
    }
}

/* Every remainder of every tile: rows, outputs, a run's last step; and nothing at all. */
static void test_every_tail(void **state) {
    (void)state;
    Rng rng = rng_stream(2, RNG_TEST, 0);
    for (int rows = 0; rows <= 26; rows++)
        for (int outputs = 0; outputs <= 50; outputs++) {
            Case c = random_case(&rng, rows, outputs, rows % 4, (rows + 3 * outputs) % 18);
            check_case(&c, &rng);
        }
}

static void test_extreme_inputs(void **state) {
    (void)state;
    Rng rng = rng_stream(3, RNG_TEST, 0);
    for (Fill fill = HIGH_HIGH; fill < FILLS; fill++)
        for (int bits = 2; bits <= 8; bits++)
            for (int depth = 1; depth < 700; depth += 137) {
                Case c = random_case(&rng, 7, 25, 1 + depth % 3, depth);
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
            Case c = random_case(&rng, 2, 3, 1, depth);
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
               .weight = (const int8_t *)""}; /* no runs: the sum is the bias */
    for (int i = 0; i < q.outputs; i++) {
        multiplier[i] = (Multiplier){m0s[i % M0S], 1 + i / M0S % SHIFTS};
        bias[i] = sums[i / M0S / SHIFTS];
        expected[i] = exact_code(bias[i], multiplier[i], q.zero, q.lo, q.hi);
    }
    for (int k = 0; qgemm_kernels[k]; k++) {
        const QGemmKernel *kernel = qgemm_kernels[k];
        if (!kernel->usable()) continue;
        Guarded packed = guarded(kernel->packed_bytes(&q), 64);
        kernel->pack(&q, packed.data);
        q.packed = packed.data;
        kernel->run(&q, &(QRows){"", (size_t[]){0}, NULL}, 1, 1, y, sizeof y);
        assert_memory_equal(y, expected, sizeof y);
        release(packed);
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
    QGemm q = {.outputs = 1,
               .runs = 1,
               .run = 3,
               .weight = weight,
               .bias = &bias,
               .multiplier = &m,
               .zero = 128 - 20,
               .hi = 255};
    QRows rows = {x, (size_t[]){0}, (size_t[]){0}};
    uint8_t y;
    int32_t acc;
    qgemm_scalar.run(&q, &rows, 1, 1, &y, 1);
    qgemm_scalar.accumulate(&q, &rows, 1, &acc, 1);
    assert_int_equal(acc, 16035);
    assert_int_equal(y - 128, 125 - 20);
}

/* The first that runs here and is exact for all, whatever the first of them would like. */
static void test_choice(void **state) {
    (void)state;
    static const int8_t low[16] = {7}, high[16] = {127};
    const int32_t zero[] = {-8, -1};
    QGemm q[] = {{.outputs = 1, .runs = 1, .run = 16, .weight = low, .weight_zero = &zero[0]},
                 {.outputs = 1, .runs = 1, .run = 16, .weight = high, .weight_zero = &zero[1]}};
    for (int count = 1; count <= 2; count++) {
        const QGemmKernel *chosen = qgemm_kernel(q, count);
        for (int i = 0; qgemm_kernels[i] != chosen; i++)
            assert_false(qgemm_kernels[i]->usable() && qgemm_kernels[i]->fits(&q[count - 1]));
        assert_true(chosen->usable());
        for (int i = 0; i < count; i++) assert_true(chosen->fits(&q[i]));
    }
    assert_true(qgemm_narrow_avx2.fits(&q[0])); /* 15: four steps in 16 bits */
    assert_true(qgemm_vnni.fits(&q[0]));
    assert_false(qgemm_vnni.fits(&q[1])); /* 128 is no signed byte */
    setenv("STAIR_WITHOUT", "vnni,avx2,narrow-avx2", 1);
    assert_ptr_equal(qgemm_kernel(q, 1), &qgemm_scalar);
    unsetenv("STAIR_WITHOUT");
}

/* The last of the list runs everywhere; every kernel that runs here has had its cases. */
static void test_all_were_checked(void **state) {
    (void)state;
    int i = 0;
    for (; qgemm_kernels[i]; i++)
        if (!qgemm_kernels[i]->usable())
            printf("skipped: this processor has no %s\n", qgemm_kernels[i]->name);
        else
            assert_true(checked[i] > 100);
    assert_ptr_equal(qgemm_kernels[i - 1], &qgemm_scalar);
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
        cmocka_unit_test(test_all_were_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
