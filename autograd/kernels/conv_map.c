/* Each direction is one matrix product, before or behind a patch copy. */
#include "autograd/kernels/conv_map.h"

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/parallel.h"

/* True when the columns are the fine side itself: no copy is needed. */
static bool is_direct(const Patches *p) {
    for (int d = 0; d < SPATIAL; d++)
        if (p->in[d] != p->out[d]) return false;
    return patches_identity(p);
}

const ConvMap *conv_map_new(Arena *arena, const Window *window, int groups, const Shape *coarse,
                            const Shape *fine) {
    enum { LINE = 16 }; /* floats of a cache line, which workers must not share */
    ConvMap *map = arena_alloc(arena, sizeof *map);
    *map = (ConvMap){.window = *window, .batch = coarse->dim[0], .groups = groups};
    map->patches = (Patches){.window = &map->window, .channels = fine->dim[1] / groups};
    window_sizes(fine, map->patches.in);
    window_sizes(coarse, map->patches.out);
    map->rows = coarse->dim[1] / groups;
    map->depth = patches_rows(&map->patches);
    map->positions = patches_columns(&map->patches);
    map->coarse = size_mul((size_t)map->rows, (size_t)map->positions);
    map->fine = size_mul((size_t)map->patches.channels, patches_plane(&map->patches));
    if (!is_direct(&map->patches))
        map->scratch = size_mul((size_t)map->depth, (size_t)map->positions) / LINE * LINE + LINE;
    return map;
}

float *conv_map_scratch(Arena *arena, const ConvMap *map) {
    size_t floats = size_mul(map->scratch, (size_t)parallel_threads());
    return arena_alloc(arena, size_mul(floats, sizeof(float)));
}

const float *conv_map_columns(const ConvMap *map, const float *fine, float *scratch, int worker) {
    if (!map->scratch) return fine;
    float *columns = scratch + (size_t)worker * map->scratch;
    patches_gather(&map->patches, fine, columns);
    return columns;
}

void conv_map_down(const ConvMap *map, const float *w, const float *columns, float beta,
                   float *coarse) {
    gemm(map->rows, map->positions, map->depth, mat(w, map->depth), mat(columns, map->positions),
         beta, coarse, map->positions);
}

void conv_map_up(const ConvMap *map, const float *w, const float *coarse, float *fine,
                 float *scratch, int worker) {
    bool direct = map->scratch == 0;
    float *columns = direct ? fine : scratch + (size_t)worker * map->scratch;
    gemm(map->depth, map->positions, map->rows, mat_t(w, map->depth), mat(coarse, map->positions),
         direct ? 1.0f : 0.0f, columns, map->positions);
    if (!direct) patches_scatter(&map->patches, columns, fine);
}

void conv_map_weight(const ConvMap *map, const float *coarse, const float *columns, float *dw) {
    gemm(map->rows, map->depth, map->positions, mat(coarse, map->positions),
         mat_t(columns, map->positions), 1.0f, dw, map->depth);
}

void conv_bias(const float *b, int channels, size_t plane, float *y) {
    for (int c = 0; c < channels; c++, y += plane) {
        float value = b ? b[c] : 0;
        for (size_t p = 0; p < plane; p++) y[p] = value;
    }
}

/* A plain loop is one chain of additions, each waiting for the last; LANES chains overlap. */
static float sum(const float *x, size_t count) {
    enum { LANES = 16 };
    float lane[LANES] = {0}, total = 0;
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t j = 0; j < LANES; j++) lane[j] += x[i + j];
    for (size_t j = 0; j < LANES; j++) total += lane[j];
    for (; i < count; i++) total += x[i];
    return total;
}

void conv_bias_gradient(const float *g, int channels, size_t plane, float *db) {
    for (int c = 0; c < channels; c++) db[c] += sum(g + (size_t)c * plane, plane);
}
