/* A row through a batch normalisation, and through the relu behind it if it has one:
 *
 *   y = scale (x - mean) + shift,   or 0 where that is not positive */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct RowMap {
    float mean, scale, shift;
    bool
        cut; /* a relu follows; on the way back it is x that says what passed: y need not be read */
} RowMap;

void row_map(const RowMap *map, const float *x, size_t count, float *y);

/* dx = or += scale (g - mean_g - slope (x - mean)), where g is dy, but 0 where the relu cut. dx may
 * be dy. */
void row_map_gradient(const RowMap *map, const float *x, const float *dy, size_t count,
                      float mean_g, float slope, bool store, float *dx);
