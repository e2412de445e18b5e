/* Every depthwise kernel against a plain 64-bit loop: the same bytes, and not one read or written
 * beside the arrays. */
#include "autograd/rng.h"
#include "quant/kernels/qdepthwise.h"
#include "tests/kernels.h"

enum { SOURCES = 6 /* input places that the taps point to */, MAX_PLACES = 9, MAX_TAPS = 50 };

typedef struct Problem {
    QDepthwise q;
    int places;
    size_t y_stride, y_bytes;
    Guarded source[SOURCES], weight, weight_zero, bias, multiplier, y; /* y: what is expected */
    const uint8_t *x[MAX_PLACES * MAX_TAPS];
} Problem;

static void expect(Problem *p) {
    const QDepthwise *q = &p->q;
    for (int i = 0; i < p->places; i++)
        for (int c = 0; c < q->channels; c++) {
            int64_t sum = q->bias[c];
            for (int t = 0; t < q->taps; t++)
                sum += p->x[i * q->taps + t][c] *
                       (q->weight[c * q->taps + t] - (q->weight_zero ? q->weight_zero[c] : 0));
            p->y.data[(size_t)i * p->y_stride + (size_t)c] = exact_code(
                (int32_t)(uint32_t)(uint64_t)sum, q->multiplier[c], q->zero, q->lo, q->hi);
        }
}

/* extreme: all inputs 255, weights 127 or -127 by channel. */
static Problem problem(Rng *rng, int places, int channels, int taps, bool extreme) {
    Problem p = {.places = places, .y_stride = (size_t)channels + rng_below(rng, 20)};
    size_t count = (size_t)channels;
    p.y_bytes = places ? (size_t)(places - 1) * p.y_stride + count : 0;
    for (int s = 0; s < SOURCES; s++) {
        p.source[s] = guarded(count, 1);
        for (int c = 0; c < channels; c++)
            p.source[s].data[c] = extreme ? 255 : (uint8_t)rng_next(rng);
    }
    for (int i = 0; i < places * taps; i++) p.x[i] = p.source[rng_below(rng, SOURCES)].data;
    p.weight = guarded(count * (size_t)taps, 1);
    p.weight_zero = guarded(count * sizeof(int32_t), sizeof(int32_t));
    p.bias = guarded(count * sizeof(int32_t), sizeof(int32_t));
    p.multiplier = guarded(count * sizeof(Multiplier), sizeof(int32_t));
    p.y = guarded(p.y_bytes, 1);
    for (int c = 0; c < channels; c++) {
        for (int t = 0; t < taps; t++) {
            int w = extreme ? (c % 2 ? 127 : -127) : (int)rng_below(rng, 255) - 127;
            p.weight.data[c * taps + t] = (uint8_t)w;
        }
        ((int32_t *)p.weight_zero.data)[c] =
            extreme ? (c % 2 ? -128 : 127) : (int)rng_below(rng, 256) - 128;
        ((int32_t *)p.bias.data)[c] = (int32_t)(rng_next(rng) >> 32) >> rng_below(rng, 32);
        ((Multiplier *)p.multiplier.data)[c] = (Multiplier){
            (1 << 30) + (int32_t)rng_below(rng, 1u << 30),
            rng_below(rng, 3) ? 40 + (int)rng_below(rng, 6) : 1 + (int)rng_below(rng, 62)};
    }
    int32_t lo = rng_below(rng, 2) ? 0 : (int32_t)rng_below(rng, 100);
    p.q = (QDepthwise){channels,
                       taps,
                       (int8_t *)p.weight.data,
                       rng_below(rng, 2) ? (int32_t *)p.weight_zero.data : NULL,
                       (int32_t *)p.bias.data,
                       (Multiplier *)p.multiplier.data,
                       lo,
                       lo,
                       255,
                       NULL};
    expect(&p);
    return p;
}

static void check(Problem *p) {
    for (int i = 0; qdepthwise_kernels[i]; i++) {
        const QDepthwiseKernel *kernel = qdepthwise_kernels[i];
        if (!kernel->usable()) continue;
        Guarded packed = guarded(kernel->packed_bytes(&p->q), 64);
        Guarded y = guarded(p->y_bytes, 1);
        kernel->pack(&p->q, packed.data);
        p->q.packed = packed.data;
        kernel->run(&p->q, p->places, p->x, y.data, p->y_stride);
        if (memcmp(y.data, p->y.data, p->y_bytes)) /* with the canaries between rows */
            fail_msg("%s: places %d channels %d taps %d", kernel->name, p->places, p->q.channels,
                     p->q.taps);
        release(packed), release(y);
    }
    for (int s = 0; s < SOURCES; s++) release(p->source[s]);
    release(p->weight), release(p->weight_zero), release(p->bias), release(p->multiplier),
        release(p->y);
}

static void test_all_shapes(void **state) {
    (void)state;
    Rng rng = rng_stream(1, RNG_TEST, 0);
    for (int channels = 0; channels <= 34; channels++)
        for (int taps = 0; taps < MAX_TAPS; taps += 1 + taps / 10) {
            Problem p = problem(&rng, (int)rng_below(&rng, MAX_PLACES + 1), channels, taps, false);
            check(&p);
        }
}

static void test_extreme_inputs(void **state) {
    (void)state;
    Rng rng = rng_stream(2, RNG_TEST, 0);
    for (int taps = 1; taps < MAX_TAPS; taps++) {
        Problem p = problem(&rng, 3, 19, taps, true);
        check(&p);
    }
}

/* Two channels by hand, the second tap in the padding (zero point 7):
 * (9-7) 3 + 0 = 6, and (5-7) (-4) + 0 + 1 = 9; by M = 1/2, ties up: 3 and 5. */
static void test_by_hand(void **state) {
    (void)state;
    const int8_t weight[] = {3, 100, -4, 50};
    const int32_t bias[] = {-7 * 103, 1 - 7 * 46};
    const uint8_t place[] = {9, 5}, padding[] = {7, 7};
    const Multiplier half = {1 << 30, 31};
    QDepthwise q = {2, 2, weight, NULL, bias, (Multiplier[]){half, half}, 0, 0, 255, NULL};
    uint8_t y[2];
    qdepthwise_scalar.run(&q, 1, (const uint8_t *[]){place, padding}, y, 2);
    assert_int_equal(y[0], 3);
    assert_int_equal(y[1], 5);
}

static void test_choice(void **state) {
    (void)state;
    int i = 0;
    while (!qdepthwise_kernels[i]->usable()) i++;
    assert_ptr_equal(qdepthwise_kernel(), qdepthwise_kernels[i]);
    while (qdepthwise_kernels[i + 1]) i++;
    assert_ptr_equal(qdepthwise_kernels[i], &qdepthwise_scalar);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_all_shapes),
        cmocka_unit_test(test_extreme_inputs),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
