#include "autograd/kernels/winograd.h"

#include "autograd/kernels/vector.h"

static const float a = 0.75f, b = 1.5f, aa = 0.5625f, bb = 2.25f;
static const float s = 2.8125f, t = 1.265625f; /* a^2 + b^2, a^2 b^2 */
static const float aaa = 0.421875f, bbb = 3.375f, abb = 1.6875f, aab = 0.84375f;
/* 1 over the divisors of 0, +-a, +-b */
static const float at_0 = 64.0f / 81, at_a = -128.0f / 243, at_b = 32.0f / 243;

/* --- one dimension: from x to y --- */

typedef void Axis(const Lanes *x, Lanes *y);

INLINE void fine(const Lanes *x, Lanes *y) {
    Lanes even_a = x[4] - bb * x[2], odd_a = a * x[3] - abb * x[1];
    Lanes even_b = x[4] - aa * x[2], odd_b = b * x[3] - aab * x[1];
    y[0] = t * x[0] - s * x[2] + x[4];
    y[1] = even_a + odd_a;
    y[2] = even_a - odd_a;
    y[3] = even_b + odd_b;
    y[4] = even_b - odd_b;
    y[5] = t * x[1] - s * x[3] + x[5];
}

INLINE void fine_back(const Lanes *x, Lanes *y) {
    Lanes even_a = x[1] + x[2], odd_a = x[1] - x[2];
    Lanes even_b = x[3] + x[4], odd_b = x[3] - x[4];
    Lanes zero = x[0], infinity = x[5];
    y[0] = t * zero;
    y[1] = t * infinity - abb * odd_a - aab * odd_b;
    y[2] = -s * zero - bb * even_a - aa * even_b;
    y[3] = a * odd_a + b * odd_b - s * infinity;
    y[4] = zero + even_a + even_b;
    y[5] = infinity;
}

INLINE void coarse(const Lanes *x, Lanes *y) {
    Lanes even_a = x[0] + aa * x[2], odd_a = a * x[1] + aaa * x[3];
    Lanes even_b = x[0] + bb * x[2], odd_b = b * x[1] + bbb * x[3];
    Lanes last = x[3];
    y[0] = x[0];
    y[1] = even_a + odd_a;
    y[2] = even_a - odd_a;
    y[3] = even_b + odd_b;
    y[4] = even_b - odd_b;
    y[5] = last;
}

INLINE void coarse_back(const Lanes *x, Lanes *y) {
    Lanes even_a = x[1] + x[2], odd_a = x[1] - x[2];
    Lanes even_b = x[3] + x[4], odd_b = x[3] - x[4];
    y[0] = x[0] + even_a + even_b;
    y[1] = a * odd_a + b * odd_b;
    y[2] = aa * even_a + bb * even_b;
    y[3] = aaa * odd_a + bbb * odd_b + x[5];
}

INLINE void weight(const Lanes *x, Lanes *y) {
    Lanes even_a = at_a * (x[0] + aa * x[2]), odd_a = at_a * (a * x[1]);
    Lanes even_b = at_b * (x[0] + bb * x[2]), odd_b = at_b * (b * x[1]);
    Lanes last = x[2];
    y[0] = at_0 * x[0];
    y[1] = even_a + odd_a;
    y[2] = even_a - odd_a;
    y[3] = even_b + odd_b;
    y[4] = even_b - odd_b;
    y[5] = last;
}

INLINE void weight_back(const Lanes *x, Lanes *y) {
    Lanes even_a = at_a * (x[1] + x[2]), odd_a = at_a * (x[1] - x[2]);
    Lanes even_b = at_b * (x[3] + x[4]), odd_b = at_b * (x[3] - x[4]);
    y[0] = at_0 * x[0] + even_a + even_b;
    y[1] = a * odd_a + b * odd_b;
    y[2] = aa * even_a + bb * even_b + x[5];
}

/* --- two dimensions: columns, then rows. These loops stay loops: unrolled, they would need more
 * addresses than there are registers, and take a fifth longer --- */

INLINE void to_values(const float *tile, const int32_t *row, float *values, size_t step, int width,
                      int edge, Axis axis) {
    for (int c = 0; c < width; c += LANE) {
        Lanes x[WINOGRAD_FINE], y[WINOGRAD_FINE], half[WINOGRAD_VALUES];
#pragma GCC unroll 1
        for (int j = 0; j < edge; j++) {
#pragma GCC unroll 6
            for (int i = 0; i < edge; i++) x[i] = *(const Lanes *)(tile + row[i * edge + j] + c);
            axis(x, y);
#pragma GCC unroll 6
            for (int i = 0; i < WINOGRAD_FINE; i++) half[i * edge + j] = y[i];
        }
#pragma GCC unroll 1
        for (size_t i = 0; i < WINOGRAD_FINE; i++) {
            axis(half + i * (size_t)edge, y);
#pragma GCC unroll 6
            for (size_t j = 0; j < WINOGRAD_FINE; j++)
                *(Lanes *)(values + (i * WINOGRAD_FINE + j) * step + c) = y[j];
        }
    }
}

INLINE void from_values(const float *values, size_t step, const float *start, float *tile,
                        const int32_t *row, int width, int edge, Axis axis) {
    for (int c = 0; c < width; c += LANE) {
        Lanes x[WINOGRAD_FINE], y[WINOGRAD_FINE], half[WINOGRAD_VALUES];
#pragma GCC unroll 1
        for (size_t j = 0; j < WINOGRAD_FINE; j++) {
#pragma GCC unroll 6
            for (size_t i = 0; i < WINOGRAD_FINE; i++)
                x[i] = *(const Lanes *)(values + (i * WINOGRAD_FINE + j) * step + c);
            axis(x, y);
#pragma GCC unroll 6
            for (int i = 0; i < edge; i++) half[(size_t)i * WINOGRAD_FINE + j] = y[i];
        }
#pragma GCC unroll 1
        for (int i = 0; i < edge; i++) {
            axis(half + i * WINOGRAD_FINE, y);
#pragma GCC unroll 6
            for (int j = 0; j < edge; j++) {
                float *at = tile + row[i * edge + j] + c;
                *(Lanes *)at = *(const Lanes *)(start ? start + c : at) + y[j];
            }
        }
    }
}

#define VALUES(name, edge, axis)                                                                   \
    VECTOR void name(const float *tile, const int32_t *row, float *values, size_t step,            \
                     int width) {                                                                  \
        to_values(tile, row, values, step, width, edge, axis);                                     \
    }
#define BACK(name, edge, axis)                                                                     \
    VECTOR void name(const float *values, size_t step, const float *start, float *tile,            \
                     const int32_t *row, int width) {                                              \
        from_values(values, step, start, tile, row, width, edge, axis);                            \
    }
VALUES(winograd_fine, WINOGRAD_FINE, fine)
VALUES(winograd_coarse, WINOGRAD_COARSE, coarse)
VALUES(winograd_weight, WINOGRAD_KERNEL, weight)
BACK(winograd_fine_back, WINOGRAD_FINE, fine_back)
BACK(winograd_coarse_back, WINOGRAD_COARSE, coarse_back)
BACK(winograd_weight_back, WINOGRAD_KERNEL, weight_back)
