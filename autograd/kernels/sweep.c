/* Along one dimension, coarse position p and kernel place k meet the fine position
 *
 *     q = p stride + k dilation - padding.
 *
 * Down, the window of p begins at p stride and finds place k at k dilation - padding from there.
 * Up, the fine positions q = first + j stride of one class find place k at
 *
 *     p = j + (first + padding - k dilation) / stride
 *
 * if that is a whole number. Either way the input lies at j move + at[k]: this is an Axis, and all
 * else is the product of three of them. */
#include "autograd/kernels/sweep.h"

#include <string.h>

typedef struct Axis {
    int count, first, step; /* results: j = 0 .. count-1 is first + j step */
    int move;
    int places, *place, *at; /* [places] the kernel places that reach this class */
} Axis;

static Axis axis_new(Arena *arena, int kernel) {
    Axis axis = {.step = 1};
    axis.place = arena_alloc(arena, sizeof *axis.place * (size_t)kernel);
    axis.at = arena_alloc(arena, sizeof *axis.at * (size_t)kernel);
    return axis;
}

static Axis axis_down(Arena *arena, const SweepSides *s, int d, int class) {
    const Window *w = s->window;
    (void)class;
    Axis axis = axis_new(arena, w->kernel[d]);
    axis.count = s->coarse[d];
    axis.move = w->stride[d];
    for (int k = 0; k < w->kernel[d]; k++) {
        axis.place[axis.places] = k;
        axis.at[axis.places++] = k * w->dilation[d] - w->padding[d];
    }
    return axis;
}

static Axis axis_up(Arena *arena, const SweepSides *s, int d, int class) {
    const Window *w = s->window;
    Axis axis = axis_new(arena, w->kernel[d]);
    axis.first = class;
    axis.step = w->stride[d];
    axis.count = (s->fine[d] - class + axis.step - 1) / axis.step;
    axis.move = 1;
    for (int k = 0; k < w->kernel[d]; k++) {
        int distance = class + w->padding[d] - k * w->dilation[d];
        if (distance % w->stride[d]) continue;
        axis.place[axis.places] = k;
        axis.at[axis.places++] = distance / w->stride[d];
    }
    return axis;
}

/* Makes room for all windows of the axis. */
static void widen_frame(Sweep *sweep, const Axis *axis, int d) {
    for (int i = 0; i < axis->places; i++) {
        int last = axis->at[i] + axis->move * (axis->count - 1), size = sweep->size[d];
        int before = axis->at[i] < 0 ? -axis->at[i] : 0, after = last < size ? 0 : last - size + 1;
        if (sweep->before[d] < before) {
            sweep->frame[d] += before - sweep->before[d];
            sweep->before[d] = before;
        }
        int wanted = sweep->before[d] + size + after;
        if (sweep->frame[d] < wanted) sweep->frame[d] = wanted;
    }
}

/* The places i, begin <= i < end, of the axis that lie on the input at position j: `at` is
 * monotone, so they are neighbours. */
static Span places_at(const Axis *axis, int j, int size) {
    Span span = {0, 0};
    for (int i = 0; i < axis->places; i++) {
        int q = axis->at[i] + j * axis->move;
        if (q < 0 || q >= size) continue;
        if (span.end == 0) span.begin = i;
        span.end = i + 1;
    }
    return span;
}

/* Taps are ordered by depth, row, channel, column. Those of positions in one row are cut along
 * depth if the kernel has one, else along rows; the frame's zeros serve for the rest. */
static void make_bands(Arena *arena, const Sweep *sweep, SweepClass *class, const Axis axis[]) {
    int rows = axis[0].count * axis[1].count, cut = axis[0].places > 1 ? 0 : 1;
    class->band = arena_alloc(arena, size_mul((size_t)rows, sizeof *class->band));
    Band *last = NULL;
    for (int row = 0; row < rows; row++) {
        int j = cut == 0 ? row / axis[1].count : row % axis[1].count;
        Span span = places_at(&axis[cut], j, sweep->size[cut]);
        int each = axis[cut].places ? class->taps / axis[cut].places : 0;
        Band band = {row * axis[2].count, axis[2].count, span.begin * each,
                     (span.end - span.begin) * each};
        if (last && last->tap == band.tap && last->taps == band.taps)
            last->positions += band.positions;
        else
            *(last = &class->band[class->bands++]) = band;
    }
}

static void make_taps(Arena *arena, const Sweep *sweep, const SweepSides *s, SweepClass *class,
                      const Axis axis[], size_t channel_step) {
    const int *kernel = s->window->kernel, *frame = sweep->frame;
    size_t plane = sweep->frame_floats / (size_t)sweep->in_channels;
    size_t places = (size_t)axis[0].places * (size_t)axis[1].places * (size_t)axis[2].places;
    class->taps = (int)size_mul(places, (size_t)sweep->in_channels);
    class->offset = arena_alloc(arena, size_mul((size_t) class->taps, sizeof(int32_t)));
    class->weight = arena_alloc(arena, size_mul((size_t) class->taps, sizeof(int32_t)));
    int32_t *offset = class->offset, *weight = class->weight;
    for (int a = 0; a < axis[0].places; a++)
        for (int b = 0; b < axis[1].places; b++)
            for (int c = 0; c < sweep->in_channels; c++)
                for (int e = 0; e < axis[2].places; e++) {
                    int d_at = axis[0].at[a] + sweep->before[0];
                    int h_at = axis[1].at[b] + sweep->before[1];
                    int w_at = axis[2].at[e] + sweep->before[2];
                    int place = (axis[0].place[a] * kernel[1] + axis[1].place[b]) * kernel[2] +
                                axis[2].place[e];
                    *offset++ =
                        (int32_t)((size_t)c * plane) + (d_at * frame[1] + h_at) * frame[2] + w_at;
                    *weight++ = (int32_t)((size_t)c * channel_step) + place;
                }
}

static void make_positions(Arena *arena, const Sweep *sweep, SweepClass *class, const Axis axis[],
                           const int out[SPATIAL]) {
    const int *frame = sweep->frame;
    class->positions = axis[0].count * axis[1].count * axis[2].count;
    class->from = arena_alloc(arena, size_mul((size_t) class->positions, sizeof(int32_t)));
    class->to = arena_alloc(arena, size_mul((size_t) class->positions, sizeof(int32_t)));
    int32_t *from = class->from, *to = class->to;
    for (int d = 0; d < axis[0].count; d++)
        for (int h = 0; h < axis[1].count; h++)
            for (int w = 0; w < axis[2].count; w++) {
                *from++ =
                    (d * axis[0].move * frame[1] + h * axis[1].move) * frame[2] + w * axis[2].move;
                int row =
                    (axis[0].first + d * axis[0].step) * out[1] + axis[1].first + h * axis[1].step;
                *to++ = row * out[2] + axis[2].first + w * axis[2].step;
            }
    class->ordered = axis[0].step == 1 && axis[1].step == 1 && axis[2].step == 1;
}

static size_t volume(const int size[SPATIAL]) {
    return size_mul(size_mul((size_t)size[0], (size_t)size[1]), (size_t)size[2]);
}

/* Indices are 32 bits wide: a frame beyond that is more memory than there is. */
static void measure(Sweep *sweep, const int out[SPATIAL]) {
    memcpy(sweep->out, out, sizeof sweep->out);
    sweep->in_plane = volume(sweep->size);
    sweep->out_plane = volume(out);
    sweep->frame_floats = size_mul(volume(sweep->frame), (size_t)sweep->in_channels);
    sweep->framed = volume(sweep->frame) != sweep->in_plane;
    if (sweep->frame_floats > INT32_MAX) arena_exhausted(sweep->frame_floats);
}

/* `classes` along each dimension; channel_step: from the weights of one input channel to the next.
 */
static const Sweep *sweep_new(Arena *arena, const SweepSides *s, Sweep sweep, const int classes[],
                              Axis axis_of(Arena *, const SweepSides *, int, int),
                              const int out[SPATIAL], size_t channel_step) {
    Axis *axis[SPATIAL];
    for (int d = 0; d < SPATIAL; d++) {
        sweep.frame[d] = sweep.size[d];
        axis[d] = arena_alloc(arena, sizeof(Axis) * (size_t)classes[d]);
        for (int i = 0; i < classes[d]; i++) {
            axis[d][i] = axis_of(arena, s, d, i);
            widen_frame(&sweep, &axis[d][i], d);
        }
    }
    measure(&sweep, out);
    sweep.classes = classes[0] * classes[1] * classes[2];
    sweep.class = arena_zeros(arena, sizeof *sweep.class * (size_t)sweep.classes);
    for (int i = 0; i < sweep.classes; i++) {
        Axis of[SPATIAL] = {axis[0][i / classes[2] / classes[1]],
                            axis[1][i / classes[2] % classes[1]], axis[2][i % classes[2]]};
        SweepClass *class = &sweep.class[i];
        make_positions(arena, &sweep, class, of, out);
        make_taps(arena, &sweep, s, class, of, channel_step);
        make_bands(arena, &sweep, class, of);
    }
    Sweep *result = arena_alloc(arena, sizeof *result);
    *result = sweep;
    return result;
}

static size_t kernel_places(const SweepSides *s) {
    return volume(s->window->kernel);
}

const Sweep *sweep_down(Arena *arena, const SweepSides *s) {
    size_t places = kernel_places(s);
    Sweep sweep = {.in_channels = s->channels,
                   .out_channels = s->rows,
                   .size = {s->fine[0], s->fine[1], s->fine[2]},
                   .weight_step = size_mul(places, (size_t)s->channels)};
    sweep.weights = size_mul(sweep.weight_step, (size_t)s->rows);
    return sweep_new(arena, s, sweep, (int[]){1, 1, 1}, axis_down, s->coarse, places);
}

const Sweep *sweep_up(Arena *arena, const SweepSides *s) {
    size_t places = kernel_places(s);
    Sweep sweep = {.in_channels = s->rows,
                   .out_channels = s->channels,
                   .size = {s->coarse[0], s->coarse[1], s->coarse[2]},
                   .weight_step = places};
    sweep.weights = size_mul(size_mul(places, (size_t)s->channels), (size_t)s->rows);
    int classes[SPATIAL];
    for (int d = 0; d < SPATIAL; d++) { /* no more than there are positions */
        int stride = s->window->stride[d];
        classes[d] = stride < s->fine[d] ? stride : s->fine[d];
    }
    return sweep_new(arena, s, sweep, classes, axis_up, s->fine,
                     size_mul(places, (size_t)s->channels));
}
