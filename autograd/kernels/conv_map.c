#include "autograd/kernels/conv_map.h"

#include "autograd/kernels/parallel.h"
#include "autograd/kernels/row_map.h"
#include "autograd/kernels/tile.h"

#include <string.h>

const ConvMethod *const conv_methods[] = {&conv_winograd, &conv_direct, NULL};

const ConvMap *conv_map_new(Arena *arena, const Window *window, int groups, const Shape *coarse,
                            const Shape *fine, bool exact) {
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
    const ConvMethod *const *method = conv_methods; /* ends: the direct one fits all */
    while (!(*method)->fits(map) || (exact && !(*method)->exact)) method++;
    map->method = *method;
    return map;
}

ConvPass conv_pass_new(Arena *arena, const ConvMap *map, int uses, const float *w, const float *b) {
    ConvPass pass = {.map = map, .channels = {map->sides.rows, map->sides.channels}};
    pass.plane[COARSE] = map->coarse / (size_t)map->sides.rows;
    pass.plane[FINE] = map->fine / (size_t)map->sides.channels;
    map->method->start(arena, &pass, uses, w, b);
    return pass;
}

void conv_pass_give(const ConvPass *pass, ConvSide side, int group, int slot, float *out, bool add,
                    int worker) {
    int channels = pass->channels[side];
    for (int c = 0; c < channels; c += panel_width(channels, c))
        pass->map->method->give(pass, side, group, slot, c, out + (size_t)c * pass->plane[side],
                                add, worker);
}

void conv_planes_out(const float *planes, size_t floats, bool add, float *out) {
    if (add)
        row_add(planes, floats, out);
    else
        memcpy(out, planes, sizeof *out * floats);
}

/* The groups of the samples from `first` on that are worked on together, none of them `end`. */
static void run_groups(const ConvPass *pass, int first, int end, int worker, ConvRunBody *body,
                       const void *context) {
    const ConvMap *map = pass->map;
    ConvRun run = {.chunk = chunk_of(first), .worker = worker, .step = (size_t)map->groups};
    run.samples = end - first < pass->samples ? end - first : pass->samples;
    for (run.group = 0; run.group < map->groups; run.group++) {
        run.first = (size_t)first * run.step + (size_t)run.group;
        body(context, &run);
    }
}

void conv_pass_chunk(const ConvPass *pass, int chunk, int worker, ConvRunBody *body,
                     const void *context) {
    int end = chunk_end(chunk, pass->map->batch);
    for (int n = chunk_begin(chunk); n < end; n += pass->samples)
        run_groups(pass, n, end, worker, body, context);
}

typedef struct Along {
    const ConvPass *pass;
    ConvRunBody *body;
    const void *context;
} Along;

static void run_index(void *context, int i, int worker) {
    const Along *along = context;
    run_groups(along->pass, i * along->pass->samples, along->pass->map->batch, worker, along->body,
               along->context);
}

void conv_pass_along(const ConvPass *pass, ConvRunBody *body, const void *context) {
    int runs = (pass->map->batch + pass->samples - 1) / pass->samples;
    parallel_along(runs, run_index, &(Along){pass, body, context});
}

typedef struct Unpacking {
    const ConvPass *pass;
    const float *sums;
    float *dw;
} Unpacking;

static void unpack_part(void *context, int i, int worker) {
    const Unpacking *u = context;
    const ConvPass *pass = u->pass;
    size_t group = (size_t)(i / pass->parts);
    pass->map->method->unpack(pass, i % pass->parts, u->sums + group * pass->gradient,
                              u->dw + group * pass->map->weights, worker);
}

void conv_pass_unpack(const ConvPass *pass, const float *sums, float *dw) {
    parallel_for(pass->map->groups * pass->parts, unpack_part, &(Unpacking){pass, sums, dw});
}
