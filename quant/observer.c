#include "quant/observer.h"

#include <math.h>

#include "autograd/tensor.h"

Histogram *histogram_new(Arena *arena) {
    Histogram *histogram = arena_zeros(arena, sizeof *histogram);
    histogram->width = HISTOGRAM_LEAST;
    return histogram;
}

/* Bins j = 0, 1, ... to the right of zero and -1, -2, ... to the left: both sides fold by floor(j /
 * 2). */
static void histogram_double(Histogram *h) {
    int64_t *right = h->count + HISTOGRAM_HALF, *left = h->count + HISTOGRAM_HALF - 1;
    for (int j = 0; j < HISTOGRAM_HALF; j++) {
        int64_t r = 0, l = 0;
        if (2 * j < HISTOGRAM_HALF) {
            r = right[2 * j] + right[2 * j + 1];
            l = left[-2 * j] + left[-2 * j - 1];
        }
        right[j] = r;
        left[-j] = l;
    }
    h->width *= 2;
}

static void histogram_add(Histogram *h, bool empty, const float *x, size_t count, float largest) {
    while (largest >= h->width * HISTOGRAM_HALF)
        if (empty)
            h->width *= 2;
        else
            histogram_double(h);
    float inverse = 1 / h->width; /* exact: a power of two */
    for (size_t i = 0; i < count; i++) {
        if (x[i] == 0)
            h->zeros++;
        else
            h->count[HISTOGRAM_HALF + (int)floorf(x[i] * inverse)]++;
    }
}

bool observer_update(Observer *observer, const float *x, size_t count) {
    if (!floats_finite(x, count)) return false;
    float lo = x[0], hi = x[0];
    for (size_t i = 1; i < count; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    bool first = observer->batches++ == 0;
    if (first || lo < observer->min) observer->min = lo;
    if (first || hi > observer->max) observer->max = hi;
    float rate = first ? 1.0f : 0.01f;
    observer->average_min += rate * (lo - observer->average_min);
    observer->average_max += rate * (hi - observer->average_max);
    if (observer->histogram) histogram_add(observer->histogram, first, x, count, fmaxf(-lo, hi));
    return true;
}
