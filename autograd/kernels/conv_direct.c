/* The convolution as it is written: products of rows gathered where they lie (sweep.h, tile.h), or
 * of lines (plane.h), for any window. One sample is worked on at a time, and its products are made
 * panel by panel as they are given, so that what follows finds them in the first-level cache. */
#include <string.h>

#include "autograd/kernels/conv_map.h"
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/tile.h"
#include "autograd/kernels/vector.h"

/* One direction: the weights of all groups in the order of the products, and scratch for every
 * worker. */
typedef struct Direction {
    const TileKernel *kernel;
    const Sweep *sweep;
    bool by_lines;               /* of few input channels: plane.h, not tile.h */
    int parts;                   /* of a group's weights: its panels, or with lines all */
    size_t packed, frame, panel; /* floats: of one group; of one worker */
    float *weights, *scratch;
} Direction;

enum { LINE = 16 }; /* floats of a cache line, which workers must not share */

/* What a worker has taken. */
typedef struct Taken {
    _Alignas(LINE * sizeof(float)) const float *frame[SIDES]; /* by the side of the results */
    const float *coarse;
} Taken;

typedef struct Direct {
    Direction to[SIDES];
    Taken *taken; /* [workers] */
} Direct;

/* --- packing: for each group a row of biases; then [taps][channels], by lines, or for each class
 * its panels, [taps][width] --- */

static size_t all_taps(const Sweep *sweep) {
    size_t taps = 0;
    for (int i = 0; i < sweep->classes; i++) taps += (size_t)sweep->class[i].taps;
    return taps;
}

/* b[tap][j] = the weight of tap and channel begin + j; 0 beyond the last channel. */
static void pack_panel(const Sweep *sweep, const SweepClass *class, const float *w, int begin,
                       int width, float *b) {
    int left = sweep->out_channels - begin, channels = width < left ? width : left;
    if (channels < width) memset(b, 0, sizeof *b * (size_t) class->taps * (size_t)width);
    for (int t = 0; t < class->taps; t++, b += width) {
        const float *from = w + class->weight[t] + (size_t)begin * sweep->weight_step;
        for (int j = 0; j < channels; j++) b[j] = from[(size_t)j * sweep->weight_step];
    }
}

static void pack_lines(const Sweep *sweep, const float *w, float *to) {
    const SweepClass *class = &sweep->class[0];
    for (int t = 0; t < class->taps; t++)
        for (int c = 0; c < sweep->out_channels; c++)
            *to++ = w[class->weight[t] + (size_t)c * sweep->weight_step];
}

/* The weights of all groups, part by part. */
typedef struct Packing {
    const Direction *way;
    const float *w, *bias;
} Packing;

static void pack_part(void *context, int part, int worker) {
    (void)worker;
    const Packing *packing = context;
    const Direction *way = packing->way;
    const Sweep *sweep = way->sweep;
    int all = sweep->out_channels, begin = panel_begin(all, part % way->parts);
    size_t group = (size_t)(part / way->parts), width = (size_t)panels_width(all);
    const float *w = packing->w + group * sweep->weights;
    float *to = way->weights + group * way->packed;
    if (begin == 0) {
        memset(to, 0, sizeof *to * width);
        if (packing->bias)
            memcpy(to, packing->bias + group * (size_t)all, sizeof *to * (size_t)all);
    }
    to += width;
    if (way->by_lines) {
        pack_lines(sweep, w, to);
        return;
    }
    for (int i = 0; i < sweep->classes; i++) {
        size_t taps = (size_t)sweep->class[i].taps;
        pack_panel(sweep, &sweep->class[i], w, begin, panel_width(all, begin),
                   to + taps * (size_t)begin);
        to += taps * width;
    }
}

static size_t whole_lines(size_t floats) {
    return (floats + LINE - 1) / LINE * LINE;
}

/* Few taps, neighbours on neighbours, and lines that vectors cover without much waste. */
static bool lines_fit(const Sweep *sweep) {
    enum { TAPS = 32 };
    const SweepClass *class = &sweep->class[0];
    int wide = sweep->out[2];
    return sweep->classes == 1 && class->ordered && class->taps <= TAPS && wide >= LANE &&
           class->from[1] == class->from[0] + 1 && 4 * panels_width(wide) <= 5 * wide;
}

/* w NULL: for direction_weight alone. */
static Direction direction_new(Arena *arena, const Sweep *sweep, int groups, const float *w,
                               const float *b) {
    Direction way = {.kernel = tile_kernel(), .sweep = sweep, .by_lines = lines_fit(sweep)};
    way.parts = way.by_lines ? 1 : panel_count(sweep->out_channels);
    size_t width = (size_t)panels_width(sweep->out_channels);
    if (w) {
        way.packed = whole_lines(size_mul(all_taps(sweep) + 1, width));
        way.weights =
            arena_alloc(arena, size_mul(size_mul(way.packed, (size_t)groups), sizeof(float)));
        parallel_for(groups * way.parts, pack_part, &(Packing){&way, w, b});
    }
    way.frame = sweep->framed ? whole_lines(sweep->frame_floats) : 0;
    way.panel = whole_lines(size_mul(sweep->out_plane, PANEL_MOST));
    size_t floats = size_mul(way.frame + 2 * way.panel, (size_t)parallel_threads());
    way.scratch = arena_alloc(arena, size_mul(floats, sizeof(float)));
    return way;
}

/* --- running --- */

/* Rows are short: calling memcpy for each would take longer than copying. */
INLINE void copy_row(int count, const float *restrict x, float *restrict y) {
    enum { HALF = LANE / 2 };
    int i = 0;
    for (; i + LANE <= count; i += LANE) {
        fetch_ahead(x + i);
        *(LanesAt *)(y + i) = *(const LanesAt *)(x + i);
    }
    for (; i + HALF <= count; i += HALF) memcpy(y + i, x + i, sizeof *x * HALF);
    for (; i < count; i++) y[i] = x[i];
}

/* `in` with zeros around it, until the worker's next call; `first`: of the pass. */
VECTOR static const float *framed(const Direction *way, const float *in, bool first, int worker) {
    const Sweep *s = way->sweep;
    if (!s->framed) return in;
    float *frame = way->scratch + (size_t)worker * way->frame;
    if (first) memset(frame, 0, sizeof *frame * way->frame); /* the zeros around stay */
    const int *size = s->size, *wide = s->frame, *before = s->before;
    for (int c = 0; c < s->in_channels; c++)
        for (int d = 0; d < size[0]; d++)
            for (int h = 0; h < size[1]; h++, in += size[2]) {
                int row = ((c * wide[0] + before[0] + d) * wide[1] + before[1] + h) * wide[2];
                copy_row(size[2], in, frame + row + before[2]);
            }
    return frame;
}

static float *panel_scratch(const Direction *way, int worker) {
    return way->scratch + way->frame * (size_t)parallel_threads() + 2 * (size_t)worker * way->panel;
}

/* What a panel's channels are made of and where they go. */
typedef struct Panel {
    int width, channels;
    const float *frame, *start; /* the input; biases [width] */
    float *sums;                /* scratch [positions][width] */
    float *planes;              /* scratch [channels][plane], the results */
} Panel;

enum { BLOCK = 192 }; /* positions whose sums stay in the first-level cache until they are spread */

/* One class: to the results if it is the only one, else to its places among the sums. */
static void class_panel(const Direction *way, const SweepClass *class, const Panel *p,
                        const float *b) {
    int width = p->width;
    for (const Band *band = class->band; band < class->band + class->bands; band++)
        for (int done = 0, some; done < band->positions; done += some) {
            int first = band->position + done;
            some = band->positions - done < BLOCK ? band->positions - done : BLOCK;
            way->kernel->run(&(Tile){.rows = some,
                                     .steps = band->taps,
                                     .width = width,
                                     .b_step = width,
                                     .out_step = width,
                                     .in = p->frame,
                                     .row = class->from + first,
                                     .step = class->offset + band->tap,
                                     .b = b + (size_t)band->tap * (size_t)width,
                                     .start = p->start,
                                     .out = p->sums,
                                     .to = class->ordered ? NULL : class->to + first});
            if (class->ordered)
                way->kernel->transpose(some, p->channels, p->sums, width, p->planes + first,
                                       (int)way->sweep->out_plane);
        }
}

static Plane plane_of(const Direction *way, int channels, const float *frame) {
    const Sweep *sweep = way->sweep;
    const SweepClass *class = &sweep->class[0];
    return (Plane){.channels = channels,
                   .taps = class->taps,
                   .lines = sweep->out[0] * sweep->out[1],
                   .wide = sweep->out[2],
                   .in = frame,
                   .from = class->from,
                   .offset = class->offset,
                   .step = sweep->out_plane,
                   .w_step = sweep->out_channels};
}

static void direction_panel(const Direction *way, int group, const float *frame, int begin,
                            float *out, bool add, int worker) {
    const Sweep *sweep = way->sweep;
    int all = sweep->out_channels, width = panel_width(all, begin);
    int channels = all - begin < width ? all - begin : width;
    const float *start = way->weights + (size_t)group * way->packed, *b = start;
    b += panels_width(all);
    if (way->by_lines) {
        Plane plane = plane_of(way, channels, frame);
        way->kernel->plane_product(&plane, b + begin, start + begin, out, add);
        return;
    }
    Panel panel = {.width = width,
                   .channels = channels,
                   .frame = frame,
                   .start = start + begin,
                   .sums = panel_scratch(way, worker),
                   .planes = panel_scratch(way, worker) + way->panel};
    for (int i = 0; i < sweep->classes; i++) {
        const SweepClass *class = &sweep->class[i];
        class_panel(way, class, &panel, b + (size_t) class->taps * (size_t)begin);
        b += (size_t) class->taps * (size_t)panels_width(all);
    }
    if (!sweep->class[0].ordered)
        way->kernel->transpose((int)sweep->out_plane, channels, panel.sums, width, panel.planes,
                               (int)sweep->out_plane);
    conv_planes_out(panel.planes, (size_t)channels * sweep->out_plane, add, out);
}

/* --- the gradient of the weights, in their order --- */

static size_t gradient_floats(const Direction *way) {
    return size_mul((size_t)way->sweep->class[0].taps,
                    (size_t)panels_width(way->sweep->out_channels));
}

static void direction_weight(const Direction *way, const float *frame, const float *coarse,
                             float *sums, int worker) {
    const Sweep *sweep = way->sweep;
    const SweepClass *class = &sweep->class[0];
    int plane = (int)sweep->out_plane, all = sweep->out_channels;
    float *panel = panel_scratch(way, worker); /* coarse' [P][width] */
    if (way->by_lines) {
        Plane lines = plane_of(way, all, frame);
        way->kernel->plane_gradient(&lines, coarse, sums);
        return;
    }
    for (int c = 0, width; c < all; c += width) {
        width = panel_width(all, c);
        int channels = all - c < width ? all - c : width;
        if (channels < width) memset(panel, 0, sizeof *panel * (size_t)plane * (size_t)width);
        way->kernel->transpose(channels, plane, coarse + (size_t)c * (size_t)plane, plane, panel,
                               width);
        for (const Band *band = class->band; band < class->band + class->bands; band++)
            way->kernel->run(&(Tile){.rows = band->taps,
                                     .steps = band->positions,
                                     .width = width,
                                     .b_step = width,
                                     .out_step = width,
                                     .in = frame,
                                     .row = class->offset + band->tap,
                                     .step = class->from + band->position,
                                     .b = panel + (size_t)band->position * (size_t)width,
                                     .out = sums + (size_t)band->tap * (size_t)width});
        sums += (size_t) class->taps * (size_t)width;
    }
}

static void direction_unpack(const Direction *way, int part, const float *sums, float *dw) {
    const Sweep *sweep = way->sweep;
    const SweepClass *class = &sweep->class[0];
    int all = sweep->out_channels, begin = panel_begin(all, part), left = all - begin;
    int width = way->by_lines ? all : panel_width(all, begin);
    int channels = width < left ? width : left;
    sums += (size_t) class->taps * (size_t)begin;
    dw += (size_t)begin * sweep->weight_step;
    for (int t = 0; t < class->taps; t++, sums += width)
        for (int j = 0; j < channels; j++)
            dw[class->weight[t] + (size_t)j * sweep->weight_step] += sums[j];
}

/* --- the method --- */

static bool fits(const ConvMap *map) {
    (void)map;
    return true;
}

static void start(Arena *arena, ConvPass *pass, int uses, const float *w, const float *b) {
    const ConvMap *map = pass->map;
    Direct *direct = pass->plan = arena_zeros(arena, sizeof *direct);
    direct->taken = arena_zeros(arena, sizeof *direct->taken * (size_t)parallel_threads());
    if (uses & (CONV_DOWN | CONV_WEIGHT))
        direct->to[COARSE] = direction_new(arena, sweep_down(arena, &map->sides), map->groups,
                                           uses & CONV_DOWN ? w : NULL, b);
    if (uses & CONV_UP)
        direct->to[FINE] = direction_new(arena, sweep_up(arena, &map->sides), map->groups, w, b);
    if (uses & CONV_WEIGHT) {
        pass->gradient = gradient_floats(&direct->to[COARSE]);
        pass->parts = direct->to[COARSE].parts;
    }
    pass->samples = 1;
}

static void take(const ConvPass *pass, ConvSide side, int slot, const float *planes, int worker) {
    const Direct *direct = pass->plan;
    ConvSide to = side == FINE ? COARSE : FINE;
    Taken *taken = &direct->taken[worker];
    (void)slot;
    if (direct->to[to].sweep)
        taken->frame[to] = framed(&direct->to[to], planes, !taken->frame[to], worker);
    if (side == COARSE) taken->coarse = planes;
}

static void multiply(const ConvPass *pass, ConvSide to, int group, int count, int worker) {
    (void)pass, (void)to, (void)group, (void)count, (void)worker; /* `give` does it */
}

static void give(const ConvPass *pass, ConvSide side, int group, int slot, int begin, float *out,
                 bool add, int worker) {
    const Direct *direct = pass->plan;
    (void)slot;
    direction_panel(&direct->to[side], group, direct->taken[worker].frame[side], begin, out, add,
                    worker);
}

static void weight(const ConvPass *pass, int count, float *sums, int worker) {
    const Direct *direct = pass->plan;
    const Taken *taken = &direct->taken[worker];
    (void)count;
    direction_weight(&direct->to[COARSE], taken->frame[COARSE], taken->coarse, sums, worker);
}

static void unpack(const ConvPass *pass, int part, const float *sums, float *dw, int worker) {
    const Direct *direct = pass->plan;
    (void)worker;
    direction_unpack(&direct->to[COARSE], part, sums, dw);
}

const ConvMethod conv_direct = {
    .name = "direct",
    .exact = true,
    .fits = fits,
    .start = start,
    .take = take,
    .multiply = multiply,
    .give = give,
    .weight = weight,
    .unpack = unpack,
};
