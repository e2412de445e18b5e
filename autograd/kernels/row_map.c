#include "autograd/kernels/row_map.h"

#include "autograd/kernels/vector.h"

VECTOR void row_map(const RowMap *map, const float *restrict x, size_t count, float *restrict y) {
    float mean = map->mean, scale = map->scale, shift = map->shift;
    if (!map->cut) {
        for (size_t i = 0; i < count; i++) y[i] = scale * (x[i] - mean) + shift;
        return;
    }
    for (size_t i = 0; i < count; i++) {
        float v = scale * (x[i] - mean) + shift;
        y[i] = v <= 0 ? 0 : v; /* false for NaN */
    }
}

static inline __attribute__((always_inline)) void gradient(RowMap map, const float *x,
                                                           const float *dy, size_t count,
                                                           float mean_g, float slope, bool store,
                                                           float *dx) {
    for (size_t i = 0; i < count; i++) {
        float d = x[i] - map.mean, g = dy[i];
        if (map.cut) g = map.scale * d + map.shift <= 0 ? 0 : g; /* false for NaN */
        g = map.scale * (g - mean_g - slope * d);
        dx[i] = store ? g : dx[i] + g;
    }
}

/* A loop for each case. */
VECTOR void row_map_gradient(const RowMap *map, const float *x, const float *dy, size_t count,
                             float mean_g, float slope, bool store, float *dx) {
    RowMap cut = *map, whole = *map;
    cut.cut = true;
    whole.cut = false;
    if (map->cut && store)
        gradient(cut, x, dy, count, mean_g, slope, true, dx);
    else if (map->cut)
        gradient(cut, x, dy, count, mean_g, slope, false, dx);
    else if (store)
        gradient(whole, x, dy, count, mean_g, slope, true, dx);
    else
        gradient(whole, x, dy, count, mean_g, slope, false, dx);
}
