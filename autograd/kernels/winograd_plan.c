/* Where Winograd's transforms are taken, and what is worked out before they are. */
#include "autograd/kernels/winograd_plan.h"

#include <string.h>

#include "autograd/kernels/parallel.h"

enum { LINE = 16 }; /* floats of a cache line */

/* --- when --- */

static int tiles_across(const ConvMap *map) {
    return (map->sides.coarse[2] + WINOGRAD_COARSE - 1) / WINOGRAD_COARSE;
}

static int tiles_of(const ConvMap *map) {
    return (map->sides.coarse[1] + WINOGRAD_COARSE - 1) / WINOGRAD_COARSE * tiles_across(map);
}

static double sample_floats(const ConvMap *map) {
    int channels = panels_width(map->sides.rows) + panels_width(map->sides.channels);
    return (double)WINOGRAD_VALUES * tiles_of(map) * channels;
}

enum {
    TRANSFORM = 300,     /* multiply-adds that take as long as to transform a tile of one channel */
    TILES_TOGETHER = 32, /* so many rows hide that a product's weights pass by but once */
    FLOATS_TOGETHER = 1 << 17, /* values of samples that stay in the second-level cache */
    VALUES_MOST = 1 << 18,     /* of one sample */
    WEIGHTS_MOST = 1 << 20     /* 4 MiB: each chunk of samples has a gradient of as many */
};

/* Where it saves a fifth of the time at least, and neither the weights nor the values of a sample
 * are too many. */
bool winograd_fits(const ConvMap *map) {
    const Window *w = &map->window;
    const SweepSides *s = &map->sides;
    for (int d = 1; d < SPATIAL; d++)
        if (w->kernel[d] != WINOGRAD_KERNEL || w->stride[d] != 1 || w->dilation[d] != 1)
            return false;
    if (w->kernel[0] != 1 || s->coarse[0] != 1 || s->fine[0] != 1) return false;
    double rows = panels_width(s->rows), channels = panels_width(s->channels);
    double tiles = tiles_of(map), each = (rows * s->channels + channels * s->rows) / 2;
    double direct = WINOGRAD_PLACES * each * s->coarse[1] * s->coarse[2];
    double winograd = WINOGRAD_VALUES * tiles * each + TRANSFORM * tiles * (rows + channels);
    return winograd <= 0.8 * direct && sample_floats(map) <= VALUES_MOST &&
           WINOGRAD_VALUES * each <= WEIGHTS_MOST;
}

/* --- plan --- */

static int32_t *steps(Arena *arena, int count, int step) {
    int32_t *at = arena_alloc(arena, sizeof *at * (size_t)count);
    for (int i = 0; i < count; i++) at[i] = i * step;
    return at;
}

/* Tiles of edge x edge positions, four apart, the first one `before` positions before the plane. */
static int32_t *tile_places(Arena *arena, const ConvMap *map, const int size[SPATIAL], int edge,
                            const int before[SPATIAL], int pitch) {
    const int *coarse = map->sides.coarse;
    int32_t *place =
        arena_alloc(arena, sizeof *place * (size_t)tiles_of(map) * (size_t)(edge * edge));
    int32_t *at = place;
    for (int y = 0; y < coarse[1]; y += WINOGRAD_COARSE)
        for (int x = 0; x < coarse[2]; x += WINOGRAD_COARSE)
            for (int h = y - before[1], last = h + edge; h < last; h++)
                for (int w = x - before[2], end = w + edge; w < end; w++) {
                    bool inside = h >= 0 && h < size[1] && w >= 0 && w < size[2];
                    *at++ = (inside ? h * size[2] + w : size[1] * size[2]) * pitch;
                }
    return place;
}

/* Whole vectors of them, as far as the plane goes. */
static int *positions_touched(Arena *arena, const ConvMap *map, const WinogradSide *side, int wide,
                              int edge, int before) {
    int high = map->sides.coarse[1], *all = arena_alloc(arena, sizeof *all * (size_t)high),
        *at = all;
    for (int y = 0; y < high; y += WINOGRAD_COARSE) {
        int lines = y - before + edge, count = lines > 0 ? panels_width(lines * wide) : 0;
        *at++ = count < side->positions ? count : side->positions;
    }
    return all;
}

/* Floats of rows[count][pitch] whose 36 values are walked over together: an odd number of lines,
 * since those a power of two apart have few places in the cache to share. */
static size_t apart(size_t count, int pitch) {
    return ((size_mul(count, (size_t)pitch) + LINE - 1) / LINE | 1) * LINE;
}

static void side_start(Arena *arena, const ConvPass *pass, ConvSide which, int tiles) {
    static const int none[SPATIAL] = {0};
    const ConvMap *map = pass->map;
    WinogradSide *side = &((WinogradPlan *)pass->plan)->side[which];
    int edge = which == COARSE ? WINOGRAD_COARSE : WINOGRAD_FINE;
    side->channels = pass->channels[which];
    side->pitch = panels_width(side->channels);
    side->positions = (int)pass->plane[which];
    side->places = edge * edge;
    const int *size = which == COARSE ? map->sides.coarse : map->sides.fine;
    const int *before = which == COARSE ? none : map->window.padding;
    side->place = tile_places(arena, map, size, edge, before, side->pitch);
    side->touched = positions_touched(arena, map, side, size[2], edge, before[1]);
    side->tile = steps(arena, tiles, side->pitch);
    side->matrix = apart((size_t)tiles, side->pitch);
    side->weight = apart((size_t)pass->channels[winograd_other(which)], side->pitch);
    side->kernel = steps(arena, WINOGRAD_PLACES, side->pitch);
    side->values = which == COARSE ? winograd_coarse : winograd_fine;
    side->back = which == COARSE ? winograd_coarse_back : winograd_fine_back;
}

/* The weights of all groups, for results on side `to`. */
typedef struct Weights {
    const WinogradPlan *plan;
    const ConvMap *map;
    ConvSide to;
    const float *w;
} Weights;

/* w[R][C][9] of one group and one channel i of the other side, to u[36][channels][pitch]. */
static void transform_channel(void *context, int index, int worker) {
    const Weights *weights = context;
    const WinogradPlan *plan = weights->plan;
    const WinogradSide *side = &plan->side[weights->to];
    int channels = plan->side[winograd_other(weights->to)].channels,
        fine = plan->side[FINE].channels;
    size_t group = (size_t)(index / channels), i = (size_t)(index % channels);
    size_t pitch = (size_t)side->pitch;
    const float *w = weights->w + group * weights->map->weights;
    float *kernels = winograd_kernels(plan, worker);
    memset(kernels, 0, sizeof *kernels * WINOGRAD_PLACES * pitch);
    for (size_t j = 0; j < (size_t)side->channels; j++) {
        size_t at = weights->to == COARSE ? j * (size_t)fine + i : i * (size_t)fine + j;
        for (size_t k = 0; k < WINOGRAD_PLACES; k++)
            kernels[k * pitch + j] = w[at * WINOGRAD_PLACES + k];
    }
    winograd_weight(kernels, side->kernel,
                    side->weights + WINOGRAD_VALUES * side->weight * group + i * pitch,
                    side->weight, side->pitch);
}

static void side_weights(Arena *arena, const ConvPass *pass, ConvSide to, const float *w,
                         const float *b) {
    WinogradPlan *plan = pass->plan;
    WinogradSide *side = &plan->side[to];
    int channels = plan->side[winograd_other(to)].channels;
    size_t groups = (size_t)pass->map->groups, pitch = (size_t)side->pitch;
    size_t floats = size_mul(WINOGRAD_VALUES * side->weight, groups);
    side->weights = arena_alloc(arena, size_mul(floats, sizeof(float)));
    side->bias = arena_zeros(arena, size_mul(groups * pitch, sizeof(float)));
    for (size_t g = 0; b && g < groups; g++)
        memcpy(side->bias + g * pitch, b + g * (size_t)side->channels,
               sizeof *b * (size_t)side->channels);
    parallel_for(channels * pass->map->groups, transform_channel,
                 &(Weights){plan, pass->map, to, w});
}

/* Enough tiles that the weights are not walked over for a few; else what the cache takes. */
static int samples_together(const ConvMap *map) {
    int samples = CHUNK;
    while (samples > 1 && samples * sample_floats(map) > FLOATS_TOGETHER &&
           samples / 2 * tiles_of(map) >= TILES_TOGETHER)
        samples /= 2;
    return samples;
}

void winograd_start(Arena *arena, ConvPass *pass, int uses, const float *w, const float *b) {
    WinogradPlan *plan = pass->plan = arena_zeros(arena, sizeof *plan);
    pass->samples = samples_together(pass->map);
    plan->kernel = tile_kernel();
    plan->tiles = tiles_of(pass->map);
    plan->across = tiles_across(pass->map);
    int tiles = pass->samples * plan->tiles;
    size_t widest = 0;
    bool padded = false; /* lanes beyond the last channel are reckoned with, though never used */
    for (int i = 0; i < SIDES; i++) {
        side_start(arena, pass, (ConvSide)i, tiles);
        const WinogradSide *side = &plan->side[i];
        size_t pitch = (size_t)side->pitch, frame = (pass->plane[i] + 1) * pitch;
        size_t planes = pass->plane[i] * (size_t)side->channels;
        plan->matrices[i] = WINOGRAD_VALUES * side->matrix;
        if (plan->planes < planes) plan->planes = (planes + LINE - 1) / LINE * LINE;
        if (plan->frame < frame) plan->frame = (frame + LINE - 1) / LINE * LINE;
        if (widest < pitch) widest = pitch;
        padded |= side->channels < side->pitch;
    }
    plan->channel = steps(arena, (int)widest, 1);
    plan->kernel_floats = WINOGRAD_PLACES * widest;
    plan->kernels =
        arena_alloc(arena, sizeof(float) * plan->kernel_floats * (size_t)parallel_threads());
    plan->worker = plan->planes + plan->frame + plan->matrices[COARSE] + plan->matrices[FINE];
    plan->scratch =
        arena_alloc(arena, size_mul(plan->worker * (size_t)parallel_threads(), sizeof(float)));
    for (int i = 0; padded && i < parallel_threads(); i++) /* whatever is read was written */
        memset(winograd_frame(plan, i), 0, sizeof(float) * plan->frame);
    if (uses & CONV_DOWN) side_weights(arena, pass, COARSE, w, b);
    if (uses & CONV_UP) side_weights(arena, pass, FINE, w, b);
    if (uses & CONV_WEIGHT) {
        pass->gradient = WINOGRAD_VALUES * plan->side[COARSE].weight;
        pass->parts = plan->side[FINE].channels;
    }
}
