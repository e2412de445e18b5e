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

VECTOR void row_add(const float *restrict x, size_t count, float *restrict sum) {
    for (size_t i = 0; i < count; i++) sum[i] += x[i];
}

/* What row_map_gradient makes of a row but its arrays; constant at every call: cut and store. */
typedef struct Gradient {
    RowMap map;
    float mean_g, slope;
    bool store;
} Gradient;

INLINE void element(Gradient to, const float *x, const float *dy, float *dx) {
    float d = *x - to.map.mean, g = *dy;
    if (to.map.cut && to.map.scale * d + to.map.shift <= 0) g = 0; /* false for NaN */
    g = to.map.scale * (g - to.mean_g - to.slope * d);
    *dx = to.store ? g : *dx + g;
}

/* The same of eight. */
INLINE void vector(Gradient to, const float *x, const float *dy, float *dx) {
    Lanes d = *(const LanesAt *)x - to.map.mean, g = *(const LanesAt *)dy;
    if (to.map.cut) g = (Lanes)((Mask)g & ~(Mask)(to.map.scale * d + to.map.shift <= 0));
    g = to.map.scale * (g - to.mean_g - to.slope * d);
    if (!to.store) g += *(const LanesAt *)dx;
    *(LanesAt *)dx = g;
}

/* Told what comes, a step of netbn takes 3 % less time at batch 512. */
INLINE void gradient(Gradient to, const float *x, const float *dy, size_t count, float *dx) {
    enum { LINE = 2 * LANE };
    size_t i = 0;
    for (; i + LINE <= count; i += LINE) {
        fetch_ahead(x + i);
        vector(to, x + i, dy + i, dx + i);
        vector(to, x + i + LANE, dy + i + LANE, dx + i + LANE);
    }
    for (; i < count; i++) element(to, x + i, dy + i, dx + i);
}

/* A loop for each case. */
VECTOR void row_map_gradient(const RowMap *map, const float *x, const float *dy, size_t count,
                             float mean_g, float slope, bool store, float *dx) {
    RowMap cut = *map, whole = *map;
    cut.cut = true;
    whole.cut = false;
    if (map->cut && store)
        gradient((Gradient){cut, mean_g, slope, true}, x, dy, count, dx);
    else if (map->cut)
        gradient((Gradient){cut, mean_g, slope, false}, x, dy, count, dx);
    else if (store)
        gradient((Gradient){whole, mean_g, slope, true}, x, dy, count, dx);
    else
        gradient((Gradient){whole, mean_g, slope, false}, x, dy, count, dx);
}
