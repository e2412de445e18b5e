#include "autograd/kernels/conv_map.h"

#include <string.h>

#include "autograd/kernels/parallel.h"
#include "autograd/kernels/vector.h"

const ConvMap *conv_map_new(Arena *arena, const Window *window, int groups, const Shape *coarse,
                            const Shape *fine) {
    ConvMap *map = arena_alloc(arena, sizeof *map);
    *map = (ConvMap){.window = *window, .batch = coarse->dim[0], .groups = groups};
    SweepSides *s = &map->sides;
    *s = (SweepSides){&map->window, coarse->dim[1] / groups, fine->dim[1] / groups, {0}, {0}};
    window_sizes(coarse, s->coarse);
    window_sizes(fine, s->fine);
    map->coarse = (size_t)s->rows;
    map->fine = map->weights = (size_t)s->channels;
    for (int d = 0; d < SPATIAL; d++) {
        map->coarse = size_mul(map->coarse, (size_t)s->coarse[d]);
        map->fine = size_mul(map->fine, (size_t)s->fine[d]);
        map->weights = size_mul(map->weights, (size_t)window->kernel[d]);
    }
    map->weights = size_mul(map->weights, (size_t)s->rows);
    return map;
}

/* --- packing: for each group a row of biases, then for each class its panels, [taps][width] --- */

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

static void pack_group(const Sweep *sweep, const float *w, const float *bias, float *to) {
    int channels = sweep->out_channels;
    memset(to, 0, sizeof *to * (size_t)panels_width(channels));
    if (bias) memcpy(to, bias, sizeof *to * (size_t)channels);
    to += panels_width(channels);
    for (int i = 0; i < sweep->classes; i++)
        for (int c = 0, width; c < channels; c += width) {
            width = panel_width(channels, c);
            pack_panel(sweep, &sweep->class[i], w, c, width, to);
            to += (size_t)sweep->class[i].taps * (size_t)width;
        }
}

enum { LINE = 16 }; /* floats of a cache line, which workers must not share */

static size_t lines(size_t floats) {
    return (floats + LINE - 1) / LINE * LINE;
}

ConvPass conv_pass_new(Arena *arena, const Sweep *sweep, int groups, const float *w,
                       const float *b) {
    ConvPass pass = {.kernel = tile_kernel(), .sweep = sweep};
    size_t width = (size_t)panels_width(sweep->out_channels);
    if (w) {
        pass.packed = lines(size_mul(all_taps(sweep) + 1, width));
        pass.weights =
            arena_alloc(arena, size_mul(size_mul(pass.packed, (size_t)groups), sizeof(float)));
        for (int g = 0; g < groups; g++)
            pack_group(sweep, w + (size_t)g * sweep->weights,
                       b ? b + (size_t)g * (size_t)sweep->out_channels : NULL,
                       pass.weights + (size_t)g * pass.packed);
    }
    pass.frame = sweep->framed ? lines(sweep->frame_floats) : 0;
    pass.panel = lines(size_mul(sweep->out_plane, PANEL_MOST));
    size_t floats = size_mul(pass.frame + pass.panel, (size_t)parallel_threads());
    pass.scratch = arena_alloc(arena, size_mul(floats, sizeof(float)));
    memset(pass.scratch, 0, sizeof(float) * pass.frame * (size_t)parallel_threads());
    return pass;
}

/* --- running --- */

/* Rows are short: calling memcpy for each would take longer than copying. */
static inline void copy_row(int count, const float *restrict x, float *restrict y) {
    enum { STEP = 4 };
    int i = 0;
    for (; i + STEP <= count; i += STEP) memcpy(y + i, x + i, sizeof *x * STEP);
    for (; i < count; i++) y[i] = x[i];
}

const float *conv_pass_frame(const ConvPass *pass, const float *in, int worker) {
    const Sweep *s = pass->sweep;
    if (!s->framed) return in;
    float *frame = pass->scratch + (size_t)worker * pass->frame; /* the zeros around stay */
    const int *size = s->size, *wide = s->frame, *before = s->before;
    for (int c = 0; c < s->in_channels; c++)
        for (int d = 0; d < size[0]; d++)
            for (int h = 0; h < size[1]; h++, in += size[2]) {
                int row = ((c * wide[0] + before[0] + d) * wide[1] + before[1] + h) * wide[2];
                copy_row(size[2], in, frame + row + before[2]);
            }
    return frame;
}

static float *panel_scratch(const ConvPass *pass, int worker) {
    return pass->scratch + pass->frame * (size_t)parallel_threads() + (size_t)worker * pass->panel;
}

/* sums[positions][width] of one class to out[channels][plane] */
static void spread(const ConvPass *pass, const SweepClass *class, int first, int positions,
                   int width, int channels, const float *sums, float *out, bool add) {
    int plane = (int)pass->sweep->out_plane;
    if (class->ordered) {
        pass->kernel->transpose(positions, channels, sums, width, out + first, plane, add);
        return;
    }
    const int32_t *to = class->to + first;
    for (int c = 0; c < channels; c++, out += plane)
        for (int p = 0; p < positions; p++) {
            float value = sums[p * width + c];
            out[to[p]] = add ? out[to[p]] + value : value;
        }
}

enum { BLOCK = 192 }; /* positions whose sums stay in the first-level cache until they are spread */

static void class_panel(const ConvPass *pass, const SweepClass *class, const float *frame,
                        const float *start, const float *b, int width, int channels, float *out,
                        bool add, float *sums) {
    for (const Band *band = class->band; band < class->band + class->bands; band++)
        for (int done = 0, some; done < band->positions; done += some) {
            int first = band->position + done;
            some = band->positions - done < BLOCK ? band->positions - done : BLOCK;
            pass->kernel->run(&(Tile){.rows = some,
                                      .steps = band->taps,
                                      .width = width,
                                      .in = frame,
                                      .row = class->from + first,
                                      .step = class->offset + band->tap,
                                      .b = b + (size_t)band->tap * (size_t)width,
                                      .start = start,
                                      .out = sums});
            spread(pass, class, first, some, width, channels, sums, out, add);
        }
}

void conv_pass_panel(const ConvPass *pass, int group, const float *frame, int begin, float *out,
                     bool add, int worker) {
    const Sweep *sweep = pass->sweep;
    int all = sweep->out_channels, width = panel_width(all, begin);
    int channels = all - begin < width ? all - begin : width;
    const float *start = pass->weights + (size_t)group * pass->packed, *b = start;
    b += panels_width(all);
    for (int i = 0; i < sweep->classes; i++) {
        const SweepClass *class = &sweep->class[i];
        class_panel(pass, class, frame, start + begin, b + (size_t) class->taps * (size_t)begin,
                    width, channels, out, add, panel_scratch(pass, worker));
        b += (size_t) class->taps * (size_t)panels_width(all);
    }
}

void conv_pass_run(const ConvPass *pass, int group, const float *frame, float *out, bool add,
                   int worker) {
    int channels = pass->sweep->out_channels;
    for (int c = 0; c < channels; c += panel_width(channels, c))
        conv_pass_panel(pass, group, frame, c, out + (size_t)c * pass->sweep->out_plane, add,
                        worker);
}

/* --- the gradient of the weights: panels [taps][width], as the weights --- */

size_t conv_pass_gradient(const ConvPass *pass) {
    return size_mul((size_t)pass->sweep->class[0].taps,
                    (size_t)panels_width(pass->sweep->out_channels));
}

VECTOR static void add_rows(int rows, int width, const float *restrict x, float *restrict sum) {
    for (int r = 0; r < rows; r++, x += width)
        for (int j = 0; j < width; j++) sum[j] += x[j];
}

void conv_pass_weight(const ConvPass *pass, const float *frame, const float *coarse, float *sums,
                      float *db, int worker) {
    const Sweep *sweep = pass->sweep;
    const SweepClass *class = &sweep->class[0];
    int plane = (int)sweep->out_plane, all = sweep->out_channels;
    float *panel = panel_scratch(pass, worker); /* coarse' [P][width] */
    for (int c = 0, width; c < all; c += width) {
        width = panel_width(all, c);
        int channels = all - c < width ? all - c : width;
        if (channels < width) memset(panel, 0, sizeof *panel * (size_t)plane * (size_t)width);
        pass->kernel->transpose(channels, plane, coarse + (size_t)c * (size_t)plane, plane, panel,
                                width, false);
        for (const Band *band = class->band; band < class->band + class->bands; band++)
            pass->kernel->run(&(Tile){.rows = band->taps,
                                      .steps = band->positions,
                                      .width = width,
                                      .in = frame,
                                      .row = class->offset + band->tap,
                                      .step = class->from + band->position,
                                      .b = panel + (size_t)band->position * (size_t)width,
                                      .out = sums + (size_t)band->tap * (size_t)width});
        sums += (size_t) class->taps * (size_t)width;
        if (!db) continue;
        float total[PANEL_MOST] = {0};
        add_rows(plane, width, panel, total);
        for (int j = 0; j < channels; j++) db[c + j] += total[j];
    }
}

void conv_pass_unpack(const ConvPass *pass, const float *sums, float *dw) {
    const Sweep *sweep = pass->sweep;
    const SweepClass *class = &sweep->class[0];
    for (int c = 0, width; c < sweep->out_channels; c += width) {
        width = panel_width(sweep->out_channels, c);
        int left = sweep->out_channels - c, channels = width < left ? width : left;
        for (int t = 0; t < class->taps; t++, sums += width)
            for (int j = 0; j < channels; j++)
                dw[class->weight[t] + (size_t)(c + j) * sweep->weight_step] += sums[j];
    }
}
