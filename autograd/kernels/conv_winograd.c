/* Convolutions with kernels of 3x3 by Winograd's transforms (winograd.h). Both sides of the map are
 * cut into tiles: coarse ones of 4x4 positions, that do not overlap, and under each a fine one of
 * 6x6. What lies outside a plane counts as zero when it is read and is dropped when it is written.
 *
 * With the 36 values of every tile of a few samples, coarse[36,T,R] and fine[36,T,C], and the
 * transformed weights u[36,C,R], each direction is 36 products of matrices (tile.h):
 *
 *   down    coarse[k] = fine[k] u[k]
 *   up      fine[k] = coarse[k] u[k]'
 *   weight  du[k] += fine[k]' coarse[k]
 *
 * The transforms work on all channels of a position as a vector, so planes are transposed on their
 * way in and out. The values of a few samples and the weights stay in the second-level cache. */
#include <string.h>

#include "autograd/kernels/conv_map.h"
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/tile.h"
#include "autograd/kernels/vector.h"
#include "autograd/kernels/winograd.h"

typedef struct Side {
    int channels, pitch; /* of one group; rounded up to whole registers */
    int positions;
    int places;      /* in a tile */
    int32_t *place;  /* [tiles][places] in a frame[positions + 1][pitch]: the last row, outside */
    int32_t *tile;   /* [T] where a tile's channels begin in a matrix */
    size_t matrix;   /* floats from one to the next: an odd number of cache lines */
    int32_t *kernel; /* [9] the places of a kernel in kernels[9][pitch] */
    WinogradValues *values;
    WinogradBack *back;
    float *weights; /* [groups][36][channels of the other side][pitch], towards this side */
    float *bias;    /* [groups][pitch] */
} Side;

typedef struct Plan {
    const TileKernel *kernel;
    Side side[SIDES];
    int tiles;                     /* of a sample */
    int32_t *channel;              /* 0 1 2 ... */
    size_t frame, matrices[SIDES]; /* floats of one worker */
    float *scratch;
    size_t kernel_floats; /* of one worker: [9][pitch of the widest side] */
    float *kernels;
} Plan;

enum { PLACES = WINOGRAD_KERNEL * WINOGRAD_KERNEL, LINE = 16 };
static const _Alignas(64) float zeros[PANEL_MOST];

/* --- when --- */

static int tiles_of(const ConvMap *map) {
    const int *coarse = map->sides.coarse;
    int high = (coarse[1] + WINOGRAD_COARSE - 1) / WINOGRAD_COARSE;
    int wide = (coarse[2] + WINOGRAD_COARSE - 1) / WINOGRAD_COARSE;
    return high * wide;
}

static double sample_floats(const ConvMap *map) {
    int channels = panels_width(map->sides.rows) + panels_width(map->sides.channels);
    return (double)WINOGRAD_VALUES * tiles_of(map) * channels;
}

/* Multiply-adds of the products that take as long as to transform a tile of one channel; floats
 * that stay in the second-level cache, beside others and alone. */
enum { TRANSFORM = 300, FLOATS_TOGETHER = 1 << 17, FLOATS_MOST = 1 << 18 /* 1 MiB */ };

/* Where it saves a fifth of the time at least, and neither the weights nor the values of a sample
 * are too many. */
static bool fits(const ConvMap *map) {
    const Window *w = &map->window;
    const SweepSides *s = &map->sides;
    for (int d = 1; d < SPATIAL; d++)
        if (w->kernel[d] != WINOGRAD_KERNEL || w->stride[d] != 1 || w->dilation[d] != 1)
            return false;
    if (w->kernel[0] != 1 || s->coarse[0] != 1 || s->fine[0] != 1) return false;
    double rows = panels_width(s->rows), channels = panels_width(s->channels);
    double tiles = tiles_of(map), each = (rows * s->channels + channels * s->rows) / 2;
    double direct = PLACES * each * s->coarse[1] * s->coarse[2];
    double winograd = WINOGRAD_VALUES * tiles * each + TRANSFORM * tiles * (rows + channels);
    return winograd <= 0.8 * direct && sample_floats(map) <= FLOATS_MOST &&
           WINOGRAD_VALUES * each <= FLOATS_MOST;
}

/* --- plan --- */

static ConvSide other(ConvSide side) {
    return side == COARSE ? FINE : COARSE;
}

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
            for (int k = 0; k < edge * edge; k++) {
                int h = y + k / edge - before[1], w = x + k % edge - before[2];
                bool inside = h >= 0 && h < size[1] && w >= 0 && w < size[2];
                *at++ = (inside ? h * size[2] + w : size[1] * size[2]) * pitch;
            }
    return place;
}

static void side_start(Arena *arena, const ConvPass *pass, ConvSide which, int tiles) {
    static const int none[SPATIAL] = {0};
    const ConvMap *map = pass->map;
    Side *side = &((Plan *)pass->plan)->side[which];
    int edge = which == COARSE ? WINOGRAD_COARSE : WINOGRAD_FINE;
    side->channels = pass->channels[which];
    side->pitch = panels_width(side->channels);
    side->positions = (int)pass->plane[which];
    side->places = edge * edge;
    const int *size = which == COARSE ? map->sides.coarse : map->sides.fine;
    const int *before = which == COARSE ? none : map->window.padding;
    side->place = tile_places(arena, map, size, edge, before, side->pitch);
    side->tile = steps(arena, tiles, side->pitch);
    /* a tile's 36 values must not share the few places in the cache that a power of two has */
    side->matrix = ((size_t)(tiles * side->pitch + LINE - 1) / LINE | 1) * LINE;
    side->kernel = steps(arena, PLACES, side->pitch);
    side->values = which == COARSE ? winograd_coarse : winograd_fine;
    side->back = which == COARSE ? winograd_coarse_back : winograd_fine_back;
}

/* The weights of all groups, for results on side `to`. */
typedef struct Weights {
    const Plan *plan;
    const ConvMap *map;
    ConvSide to;
    const float *w;
} Weights;

/* w[R][C][9] of one group and one channel i of the other side, to u[36][channels][pitch]. */
static void transform_channel(void *context, int index, int worker) {
    const Weights *weights = context;
    const Plan *plan = weights->plan;
    const Side *side = &plan->side[weights->to];
    int channels = plan->side[other(weights->to)].channels, fine = plan->side[FINE].channels;
    size_t group = (size_t)(index / channels), i = (size_t)(index % channels);
    size_t pitch = (size_t)side->pitch, step = (size_t)channels * pitch;
    const float *w = weights->w + group * weights->map->weights;
    float *kernels = plan->kernels + (size_t)worker * plan->kernel_floats;
    memset(kernels, 0, sizeof *kernels * PLACES * pitch);
    for (size_t j = 0; j < (size_t)side->channels; j++) {
        size_t at = weights->to == COARSE ? j * (size_t)fine + i : i * (size_t)fine + j;
        for (size_t k = 0; k < PLACES; k++) kernels[k * pitch + j] = w[at * PLACES + k];
    }
    winograd_weight(kernels, side->kernel,
                    side->weights + WINOGRAD_VALUES * step * group + i * pitch, step, side->pitch);
}

static void side_weights(Arena *arena, const ConvPass *pass, ConvSide to, const float *w,
                         const float *b) {
    Plan *plan = pass->plan;
    Side *side = &plan->side[to];
    int channels = plan->side[other(to)].channels;
    size_t groups = (size_t)pass->map->groups, pitch = (size_t)side->pitch;
    size_t floats = size_mul(WINOGRAD_VALUES * pitch * (size_t)channels, groups);
    side->weights = arena_alloc(arena, size_mul(floats, sizeof(float)));
    side->bias = arena_zeros(arena, size_mul(groups * pitch, sizeof(float)));
    for (size_t g = 0; b && g < groups; g++)
        memcpy(side->bias + g * pitch, b + g * (size_t)side->channels,
               sizeof *b * (size_t)side->channels);
    parallel_for(channels * pass->map->groups, transform_channel,
                 &(Weights){plan, pass->map, to, w});
}

/* Of one worker: where a sample's planes are transposed; behind it come the matrices. */
static float *frame_of(const Plan *plan, int worker) {
    return plan->scratch +
           (plan->frame + plan->matrices[COARSE] + plan->matrices[FINE]) * (size_t)worker;
}

static void start(Arena *arena, ConvPass *pass, int uses, const float *w, const float *b) {
    Plan *plan = pass->plan = arena_zeros(arena, sizeof *plan);
    pass->samples = CHUNK;
    while (pass->samples > 1 && pass->samples * sample_floats(pass->map) > FLOATS_TOGETHER)
        pass->samples /= 2;
    plan->kernel = tile_kernel();
    plan->tiles = tiles_of(pass->map);
    int tiles = pass->samples * plan->tiles;
    size_t widest = 0;
    for (int i = 0; i < SIDES; i++) {
        side_start(arena, pass, (ConvSide)i, tiles);
        const Side *side = &plan->side[i];
        size_t pitch = (size_t)side->pitch, frame = (pass->plane[i] + 1) * pitch;
        plan->matrices[i] = WINOGRAD_VALUES * side->matrix;
        if (plan->frame < frame) plan->frame = (frame + LINE - 1) / LINE * LINE;
        if (widest < pitch) widest = pitch;
    }
    plan->channel = steps(arena, (int)widest, 1);
    plan->kernel_floats = PLACES * widest;
    plan->kernels =
        arena_alloc(arena, sizeof(float) * plan->kernel_floats * (size_t)parallel_threads());
    size_t worker = plan->frame + plan->matrices[COARSE] + plan->matrices[FINE];
    plan->scratch =
        arena_alloc(arena, size_mul(worker * (size_t)parallel_threads(), sizeof(float)));
    for (int i = 0; i < parallel_threads(); i++) /* whatever is read was written */
        memset(frame_of(plan, i), 0, sizeof(float) * plan->frame);
    if (uses & CONV_DOWN) side_weights(arena, pass, COARSE, w, b);
    if (uses & CONV_UP) side_weights(arena, pass, FINE, w, b);
    if (uses & CONV_WEIGHT)
        pass->gradient =
            WINOGRAD_VALUES * (size_t)plan->side[FINE].channels * (size_t)plan->side[COARSE].pitch;
}

/* --- one worker --- */

/* The matrices of a side. */
static float *matrices(const Plan *plan, ConvSide side, int worker) {
    return frame_of(plan, worker) + plan->frame + (side == FINE ? plan->matrices[COARSE] : 0);
}

/* The values of tile i of sample `slot`. */
static float *tile_values(const Plan *plan, ConvSide side, int slot, int i, int worker) {
    return matrices(plan, side, worker) + plan->side[side].tile[slot * plan->tiles + i];
}

static void take(const ConvPass *pass, ConvSide which, int slot, const float *planes, int worker) {
    const Plan *plan = pass->plan;
    const Side *side = &plan->side[which];
    float *frame = frame_of(plan, worker);
    plan->kernel->transpose(side->channels, side->positions, planes, side->positions, frame,
                            side->pitch, false);
    memset(frame + side->positions * side->pitch, 0, sizeof *frame * (size_t)side->pitch);
    for (int i = 0; i < plan->tiles; i++)
        side->values(frame, side->place + i * side->places,
                     tile_values(plan, which, slot, i, worker), side->matrix, side->pitch);
}

static void multiply(const ConvPass *pass, ConvSide to, int group, int count, int worker) {
    const Plan *plan = pass->plan;
    const Side *side = &plan->side[to], *from = &plan->side[other(to)];
    size_t step = (size_t)from->channels * (size_t)side->pitch;
    const float *u = side->weights + WINOGRAD_VALUES * step * (size_t)group;
    const float *in = matrices(plan, other(to), worker);
    float *out = matrices(plan, to, worker);
    for (int k = 0; k < WINOGRAD_VALUES; k++) {
        for (int c = 0, width; c < side->pitch; c += width) {
            width = panel_width(side->channels, c);
            plan->kernel->run(&(Tile){.rows = count * plan->tiles,
                                      .steps = from->channels,
                                      .width = width,
                                      .b_step = side->pitch,
                                      .out_step = side->pitch,
                                      .in = in,
                                      .row = from->tile,
                                      .step = plan->channel,
                                      .b = u + c,
                                      .start = zeros,
                                      .out = out + c});
        }
        u += step;
        in += from->matrix;
        out += side->matrix;
    }
}

static void weight(const ConvPass *pass, int count, float *sums, int worker) {
    const Plan *plan = pass->plan;
    const Side *coarse = &plan->side[COARSE], *fine = &plan->side[FINE];
    const float *in = matrices(plan, FINE, worker), *b = matrices(plan, COARSE, worker);
    for (int k = 0; k < WINOGRAD_VALUES; k++) {
        for (int c = 0, width; c < coarse->pitch; c += width) {
            width = panel_width(coarse->channels, c);
            plan->kernel->run(&(Tile){.rows = fine->channels,
                                      .steps = count * plan->tiles,
                                      .width = width,
                                      .b_step = coarse->pitch,
                                      .out_step = coarse->pitch,
                                      .in = in,
                                      .row = plan->channel,
                                      .step = fine->tile,
                                      .b = b + c,
                                      .out = sums + c});
        }
        in += fine->matrix;
        b += coarse->matrix;
        sums += (size_t)fine->channels * (size_t)coarse->pitch;
    }
}

/* rows[count][pitch] = row[width] */
VECTOR static void fill_rows(int count, int pitch, int width, const float *row, float *rows) {
    for (int i = 0; i < count; i++, rows += pitch)
        for (int c = 0; c < width; c += LANE) *(Lanes *)(rows + c) = *(const Lanes *)(row + c);
}

/* Fine tiles overlap, so what they give is added up; coarse ones do not. */
static void give(const ConvPass *pass, ConvSide which, int group, int slot, int begin, float *out,
                 bool add, int worker) {
    const Plan *plan = pass->plan;
    const Side *side = &plan->side[which];
    int width = panel_width(side->channels, begin), left = side->channels - begin;
    const float *bias = side->bias + group * side->pitch + begin;
    float *frame = frame_of(plan, worker);
    if (which == FINE) fill_rows(side->positions + 1, side->pitch, width, bias, frame);
    for (int i = 0; i < plan->tiles; i++)
        side->back(tile_values(plan, which, slot, i, worker) + begin, side->matrix,
                   which == FINE ? NULL : bias, frame, side->place + i * side->places, width);
    plan->kernel->transpose(side->positions, left < width ? left : width, frame, side->pitch, out,
                            side->positions, add);
}

static void unpack(const ConvPass *pass, const float *sums, float *dw) {
    const Plan *plan = pass->plan;
    const Side *coarse = &plan->side[COARSE];
    int channels = plan->side[FINE].channels;
    size_t pitch = (size_t)coarse->pitch, step = (size_t)channels * pitch;
    for (int c = 0; c < channels; c++, sums += pitch) {
        memset(plan->kernels, 0, sizeof(float) * PLACES * pitch);
        winograd_weight_back(sums, step, NULL, plan->kernels, coarse->kernel, coarse->pitch);
        for (int r = 0; r < coarse->channels; r++)
            for (int k = 0; k < PLACES; k++)
                dw[(r * channels + c) * PLACES + k] += plan->kernels[coarse->kernel[k] + r];
    }
}

const ConvMethod conv_winograd = {
    .name = "winograd",
    .exact = false, /* the transforms divide */
    .fits = fits,
    .start = start,
    .take = take,
    .multiply = multiply,
    .give = give,
    .weight = weight,
    .unpack = unpack,
};
