#include "autograd/kernels/winograd.h"

#include "autograd/kernels/tile.h"
#include "autograd/kernels/vector.h"

#define INLINE static inline __attribute__((always_inline))

static const float a = 0.75f, b = 1.5f, aa = 0.5625f, bb = 2.25f;
static const float s = 2.8125f, t = 1.265625f; /* a^2 + b^2, a^2 b^2 */
static const float aaa = 0.421875f, bbb = 3.375f, abb = 1.6875f, aab = 0.84375f;
/* 1 over the divisors of 0, +-a, +-b */
static const float at_0 = 64.0f / 81, at_a = -128.0f / 243, at_b = 32.0f / 243;

/* --- one dimension: from x to y, `step` elements apart --- */

typedef void Axis(const Lanes *x, Lanes *y, int step);

INLINE void fine(const Lanes *x, Lanes *y, int step) {
    Lanes even_a = x[4 * step] - bb * x[2 * step], odd_a = a * x[3 * step] - abb * x[step];
    Lanes even_b = x[4 * step] - aa * x[2 * step], odd_b = b * x[3 * step] - aab * x[step];
    y[0] = t * x[0] - s * x[2 * step] + x[4 * step];
    y[step] = even_a + odd_a;
    y[2 * step] = even_a - odd_a;
    y[3 * step] = even_b + odd_b;
    y[4 * step] = even_b - odd_b;
    y[5 * step] = t * x[step] - s * x[3 * step] + x[5 * step];
}

INLINE void fine_back(const Lanes *x, Lanes *y, int step) {
    Lanes even_a = x[step] + x[2 * step], odd_a = x[step] - x[2 * step];
    Lanes even_b = x[3 * step] + x[4 * step], odd_b = x[3 * step] - x[4 * step];
    Lanes zero = x[0], infinity = x[5 * step];
    y[0] = t * zero;
    y[step] = t * infinity - abb * odd_a - aab * odd_b;
    y[2 * step] = -s * zero - bb * even_a - aa * even_b;
    y[3 * step] = a * odd_a + b * odd_b - s * infinity;
    y[4 * step] = zero + even_a + even_b;
    y[5 * step] = infinity;
}

INLINE void coarse(const Lanes *x, Lanes *y, int step) {
    Lanes even_a = x[0] + aa * x[2 * step], odd_a = a * x[step] + aaa * x[3 * step];
    Lanes even_b = x[0] + bb * x[2 * step], odd_b = b * x[step] + bbb * x[3 * step];
    Lanes last = x[3 * step];
    y[0] = x[0];
    y[step] = even_a + odd_a;
    y[2 * step] = even_a - odd_a;
    y[3 * step] = even_b + odd_b;
    y[4 * step] = even_b - odd_b;
    y[5 * step] = last;
}

INLINE void coarse_back(const Lanes *x, Lanes *y, int step) {
    Lanes even_a = x[step] + x[2 * step], odd_a = x[step] - x[2 * step];
    Lanes even_b = x[3 * step] + x[4 * step], odd_b = x[3 * step] - x[4 * step];
    y[0] = x[0] + even_a + even_b;
    y[step] = a * odd_a + b * odd_b;
    y[2 * step] = aa * even_a + bb * even_b;
    y[3 * step] = aaa * odd_a + bbb * odd_b + x[5 * step];
}

INLINE void weight(const Lanes *x, Lanes *y, int step) {
    Lanes even_a = at_a * (x[0] + aa * x[2 * step]), odd_a = at_a * (a * x[step]);
    Lanes even_b = at_b * (x[0] + bb * x[2 * step]), odd_b = at_b * (b * x[step]);
    Lanes last = x[2 * step];
    y[0] = at_0 * x[0];
    y[step] = even_a + odd_a;
    y[2 * step] = even_a - odd_a;
    y[3 * step] = even_b + odd_b;
    y[4 * step] = even_b - odd_b;
    y[5 * step] = last;
}

INLINE void weight_back(const Lanes *x, Lanes *y, int step) {
    Lanes even_a = at_a * (x[step] + x[2 * step]), odd_a = at_a * (x[step] - x[2 * step]);
    Lanes even_b = at_b * (x[3 * step] + x[4 * step]), odd_b = at_b * (x[3 * step] - x[4 * step]);
    y[0] = at_0 * x[0] + even_a + even_b;
    y[step] = a * odd_a + b * odd_b;
    y[2 * step] = aa * even_a + bb * even_b + x[5 * step];
}

/* --- two dimensions: columns, then rows; n to m elements --- */

INLINE void both(const Lanes *x, Lanes *y, int n, int m, Axis axis) {
    Lanes half[WINOGRAD_VALUES];
#pragma GCC unroll 6
    for (int j = 0; j < n; j++) axis(x + j, half + j, n);
#pragma GCC unroll 6
    for (int i = 0; i < m; i++) axis(half + i * n, y + i * m, 1);
}

INLINE void to_values(const float *tile, const int32_t *row, float *values, size_t step, int width,
                      int edge, Axis axis) {
    for (int c = 0; c < width; c += LANE) {
        Lanes x[WINOGRAD_VALUES], y[WINOGRAD_VALUES];
#pragma GCC unroll 36
        for (int k = 0; k < edge * edge; k++) x[k] = *(const Lanes *)(tile + row[k] + c);
        both(x, y, edge, WINOGRAD_FINE, axis);
#pragma GCC unroll 36
        for (size_t k = 0; k < WINOGRAD_VALUES; k++) *(Lanes *)(values + k * step + c) = y[k];
    }
}

INLINE void from_values(const float *values, size_t step, const float *start, float *tile,
                        const int32_t *row, int width, int edge, Axis axis) {
    for (int c = 0; c < width; c += LANE) {
        Lanes x[WINOGRAD_VALUES], y[WINOGRAD_VALUES];
#pragma GCC unroll 36
        for (size_t k = 0; k < WINOGRAD_VALUES; k++) x[k] = *(const Lanes *)(values + k * step + c);
        both(x, y, WINOGRAD_FINE, edge, axis);
        if (start)
#pragma GCC unroll 36
            for (int k = 0; k < edge * edge; k++)
                *(Lanes *)(tile + row[k] + c) = *(const Lanes *)(start + c) + y[k];
        else
#pragma GCC unroll 36
            for (int k = 0; k < edge * edge; k++) *(Lanes *)(tile + row[k] + c) += y[k];
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
