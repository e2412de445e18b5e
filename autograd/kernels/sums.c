#include "autograd/kernels/sums.h"

#include "autograd/kernels/vector.h"

enum { LANES = 16 };

/* By halves: one after another, each addition would wait for the last. */
static inline double lanes_sum(const float lane[LANES]) {
    double sum[LANES];
    for (int k = 0; k < LANES; k++) sum[k] = (double)lane[k];
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int k = 0; k < half; k++) sum[k] += sum[k + half];
    return sum[0];
}

VECTOR double row_sum(const float *x, size_t count) {
    float lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t k = 0; k < LANES; k++) lane[k] += x[i + k];
    for (size_t k = 0; i + k < count; k++) lane[k] += x[i + k];
    return lanes_sum(lane);
}

VECTOR double row_dot(const float *a, float a_mean, const float *x, float mean, size_t count) {
    float lane[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t k = 0; k < LANES; k++) lane[k] += (a[i + k] - a_mean) * (x[i + k] - mean);
    for (size_t k = 0; i + k < count; k++) lane[k] += (a[i + k] - a_mean) * (x[i + k] - mean);
    return lanes_sum(lane);
}

VECTOR void row_sums(const float *a, const float *x, float mean, size_t count, double sums[2]) {
    enum { HALF = LANES / 2 };
    union {
        Lanes half[2];
        float lane[LANES];
    } sum = {0}, dot = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int h = 0; h < 2; h++) {
            Lanes left = *(const LanesAt *)(a + i + h * HALF);
            sum.half[h] += left;
            dot.half[h] += left * (*(const LanesAt *)(x + i + h * HALF) - mean);
        }
    for (size_t k = 0; i + k < count; k++) {
        sum.lane[k] += a[i + k];
        dot.lane[k] += a[i + k] * (x[i + k] - mean);
    }
    sums[0] = lanes_sum(sum.lane);
    sums[1] = lanes_sum(dot.lane);
}

static float mean_of(const double moments[2], size_t count) {
    return (float)(moments[0] / (double)count);
}

void row_moments(const float *x, size_t count, double moments[2]) {
    moments[0] = row_sum(x, count);
    float mean = mean_of(moments, count);
    moments[1] = row_dot(x, mean, x, mean, count);
}

/* With x - mean = (x - own) + d: squares around own, 2 d sum(x - own), count d^2. */
double moments_around(const double moments[2], size_t count, float mean) {
    double own = (double)mean_of(moments, count), d = own - (double)mean, n = (double)count;
    return moments[1] + d * (2 * (moments[0] - n * own) + n * d);
}
