/* A row through a batch normalisation, and through the relu behind it if it has one:
 *
 *   y = scale (x - mean) + shift,   or 0 where that is not positive */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* `cut`: by the relu. On the way back x says what has passed, so that y need not be read. */
typedef struct RowMap {
    float mean, scale, shift;
    bool cut;
} RowMap;

void row_map(const RowMap *map, const float *x, size_t count, float *y);

/* sum[i] += x[i] */
void row_add(const float *x, size_t count, float *sum);

/* dx = or += scale (g - mean_g - slope (x - mean)), where g is dy, but 0 where the relu cut. dx may
 * be dy. */
void row_map_gradient(const RowMap *map, const float *x, const float *dy, size_t count,
                      float mean_g, float slope, bool store, float *dx);
