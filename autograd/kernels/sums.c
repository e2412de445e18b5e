#include "autograd/kernels/sums.h"

#include <stdbool.h>
#include <stdint.h>

#include "autograd/kernels/vector.h"

enum { PARTS = 4 }; /* vectors of a sum, so that an addition need not wait for the last */

typedef float Half __attribute__((vector_size(LANE / 2 * sizeof(float))));
typedef double Doubles __attribute__((vector_size(LANE / 2 * sizeof(double))));

INLINE double parts_sum(const Lanes part[PARTS]) {
    Doubles sum[PARTS];
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++) {
        union {
            Lanes whole;
            Half half[2];
        } both = {part[i]};
        sum[i] = __builtin_convertvector(both.half[0], Doubles) +
                 __builtin_convertvector(both.half[1], Doubles);
    }
    Doubles all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    return (all[0] + all[1]) + (all[2] + all[3]);
}

/* What is summed: a - a_mean, or 0 where the map's relu cut x; and that times x - mean, if `dot`.
 */
typedef struct Row {
    const float *a, *x;
    float a_mean;
    RowMap map;
    bool dot;
} Row;

/* mask NULL: all lanes. */
INLINE void add_vector(const Row *row, size_t i, const Mask *mask, Lanes *sum, Lanes *dot) {
    Lanes a = *(const LanesAt *)(row->a + i) - row->a_mean, d = {0};
    if (row->dot) d = *(const LanesAt *)(row->x + i) - row->map.mean;
    if (row->map.cut) a = (Lanes)((Mask)a & ~(Mask)(row->map.scale * d + row->map.shift <= 0));
    if (mask) a = (Lanes)((Mask)a & *mask);
    *sum += a;
    if (row->dot) *dot += a * d;
}

/* The last vector ends with the row, and leaves out what the one before has had. */
INLINE void add_row(const Row *row, size_t count, Lanes sum[PARTS], Lanes dot[PARTS]) {
    static const Mask lane = {0, 1, 2, 3, 4, 5, 6, 7};
    size_t i = 0;
    for (; i + PARTS * LANE <= count; i += PARTS * LANE)
#pragma GCC unroll 4
        for (size_t k = 0; k < PARTS; k++) add_vector(row, i + k * LANE, NULL, sum + k, dot + k);
    for (; i + LANE <= count; i += LANE) add_vector(row, i, NULL, sum, dot);
    Mask fresh = lane >= LANE - (int32_t)(count - i);
    add_vector(row, count - LANE, &fresh, sum + 1, dot + 1);
}

INLINE void add_short_row(const Row *row, size_t count, double sums[2]) {
    sums[0] = sums[1] = 0;
    for (size_t i = 0; i < count; i++) {
        float a = row->a[i] - row->a_mean, d = row->dot ? row->x[i] - row->map.mean : 0;
        if (row->map.cut && row->map.scale * d + row->map.shift <= 0) a = 0;
        sums[0] += (double)a;
        sums[1] += (double)(a * d);
    }
}

INLINE void sums_of(const Row *row, size_t count, double sums[2]) {
    if (count < LANE) {
        add_short_row(row, count, sums);
        return;
    }
    Lanes sum[PARTS] = {0}, dot[PARTS] = {0};
    add_row(row, count, sum, dot);
    sums[0] = parts_sum(sum);
    sums[1] = row->dot ? parts_sum(dot) : 0;
}

VECTOR double row_sum(const float *x, size_t count) {
    double sums[2];
    sums_of(&(Row){.a = x}, count, sums);
    return sums[0];
}

VECTOR void row_sums(const RowMap *map, const float *x, const float *dy, size_t count,
                     double sums[2]) {
    if (map->cut)
        sums_of(&(Row){dy, x, 0, {map->mean, map->scale, map->shift, true}, true}, count, sums);
    else
        sums_of(&(Row){dy, x, 0, {.mean = map->mean}, true}, count, sums);
}

static inline float mean_of(const double moments[2], size_t count) {
    return (float)(moments[0] / (double)count);
}

VECTOR void row_moments(const float *x, size_t count, double moments[2]) {
    double around[2];
    sums_of(&(Row){.a = x}, count, moments);
    float mean = mean_of(moments, count);
    sums_of(&(Row){x, x, mean, {.mean = mean}, true}, count, around);
    moments[1] = around[1];
}

/* With x - mean = (x - own) + d: squares around own, 2 d sum(x - own), count d^2. */
double moments_around(const double moments[2], size_t count, float mean) {
    double own = (double)mean_of(moments, count), d = own - (double)mean, n = (double)count;
    return moments[1] + d * (2 * (moments[0] - n * own) + n * d);
}
