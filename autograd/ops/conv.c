/* Convolution (cross-correlation, as PyTorch's) over 1, 2 or 3 spatial dimensions, in groups:
 *
 *   y[n,o,p] = b[o] + sum over k of w[o,k] columns[k,p]
 *
 * where columns[K,P] is what lies under the window in sample n: x is the fine side of a map, y the
 * coarse one (kernels/conv_map.h). */
#include "autograd/error.h"
#include "autograd/kernels/conv_map.h"
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/partials.h"
#include "autograd/kernels/sums.h"
#include "autograd/kernels/tile.h"
#include "autograd/op.h"
#include "autograd/ops.h"
#include "autograd/tail.h"

#include <string.h>

extern const Op conv_op;

typedef struct Conv {
    const ConvMap *map;
    const TailWork *tail;
} Conv;

enum { ADDEND = 3 }; /* the tail's, among the inputs */

/* One run over the batch, forward or backward. */
typedef struct Pass {
    const ConvMap *map;
    const TailWork *tail;
    Tensor *x;
    float *planes; /* of the value, between the products and the tail: worker_planes a worker */
    size_t worker_planes;
    float *mapped; /* [workers][C,P]: a group of a sample of x, if its values are deferred */
    ConvPass conv;
    bool sums, bias;   /* gradients of w or b, of b, are wanted */
    Partials partials; /* of a piece: dw by group as the method leaves it, then db[O] */
    unsigned fresh;    /* the entry's */
} Pass;

static void check_shapes(const Tensor *x, const Tensor *w, const Tensor *b, const ConvSpec *spec) {
    char text[2][SHAPE_TEXT];
    const Shape *xs = &x->shape, *ws = &w->shape;
    int groups = spec->groups;
    CHECK(xs->rank == ws->rank && groups > 0 && ws->dim[0] % groups == 0 &&
              xs->dim[1] == ws->dim[1] * groups,
          "conv: x %s, w %s, %d groups", shape_text(xs, text[0]), shape_text(ws, text[1]), groups);
    int kernel[SPATIAL];
    window_sizes(ws, kernel);
    for (int d = 0; d < SPATIAL; d++)
        CHECK(kernel[d] == spec->window.kernel[d], "conv: w %s, a window of %d",
              shape_text(ws, text[0]), spec->window.kernel[d]);
    CHECK(!b || (b->shape.rank == 1 && b->shape.dim[0] == ws->dim[0]), "conv: w %s, b %s",
          shape_text(ws, text[0]), shape_text(&b->shape, text[1]));
}

/* One sample's group. Each panel of channels, and its tail while it is in the cache. */
static void give_value(const Pass *pass, const ConvRun *run, int slot) {
    const TailWork *tail = pass->tail;
    int rows = pass->map->sides.rows;
    size_t first = conv_run_at(run, slot) * (size_t)rows; /* plane of the value */
    float *planes = pass->planes + (size_t)run->worker * pass->worker_planes;
    for (int c = 0, width; c < rows; c += width) {
        width = panel_width(rows, c);
        float *to = tail_target(tail, first + (size_t)c, planes);
        pass->map->method->give(&pass->conv, COARSE, run->group, slot, c, to, false, run->worker);
        for (int j = c; j < c + width && j < rows; j++, to += tail->plane)
            tail_run(tail, first + (size_t)j, to);
    }
}

/* A group of a sample of x. */
static const float *input_planes(const Pass *pass, size_t s, int worker) {
    const Deferred *values = pass->x->values;
    if (!values) return pass->x->data + s * pass->map->fine;
    float *planes = pass->mapped + (size_t)worker * pass->map->fine;
    size_t channels = (size_t)pass->map->sides.channels;
    for (size_t c = 0; c < channels; c++)
        values->plane(values->context, s * channels + c, planes + c * pass->conv.plane[FINE]);
    return planes;
}

static void take_input(const Pass *pass, const ConvRun *run, int slot) {
    const float *x = input_planes(pass, conv_run_at(run, slot), run->worker);
    pass->map->method->take(&pass->conv, FINE, slot, x, run->worker);
}

static void forward_run(const void *context, const ConvRun *run) {
    const Pass *pass = context;
    const ConvMap *map = pass->map;
    for (int i = 0; i < run->samples; i++) take_input(pass, run, i);
    map->method->multiply(&pass->conv, COARSE, run->group, run->samples, run->worker);
    for (int i = 0; i < run->samples; i++) give_value(pass, run, i);
}

static void make_mapped(Arena *arena, Pass *pass) {
    size_t floats = size_mul(pass->map->fine, (size_t)parallel_threads());
    if (pass->x->values) pass->mapped = arena_alloc(arena, size_mul(floats, sizeof(float)));
}

/* `count` planes of the value for each worker. */
static void make_planes(Arena *arena, Pass *pass, int count) {
    pass->worker_planes = size_mul((size_t)count, pass->tail->plane);
    size_t floats = size_mul(pass->worker_planes, (size_t)parallel_threads());
    pass->planes = arena_alloc(arena, size_mul(floats, sizeof(float)));
}

Tensor *op_conv_tail(Tape *tape, Tensor *x, Tensor *w, Tensor *b, const ConvSpec *spec,
                     const Tail *tail) {
    check_shapes(x, w, b, spec);
    Shape value = window_shape(&spec->window, &x->shape, w->shape.dim[0]);
    Conv *conv = arena_alloc(tape->arena, sizeof *conv);
    conv->map =
        conv_map_new(tape->arena, &spec->window, spec->groups, &value, &x->shape, tape->exact);
    conv->tail = tail_new(tape, tail, &value);
    Tensor *y = conv->tail->out;
    y->defers = tail_empty(&conv->tail->tail);
    tape_record(tape, &conv_op, y, 4, (Tensor *[]){x, w, b, conv->tail->tail.addend}, conv);

    ArenaMark mark = arena_mark(tape->arena);
    Pass pass = {.map = conv->map, .tail = conv->tail, .x = x};
    pass.conv = conv_pass_new(tape->arena, pass.map, CONV_DOWN, w->data, b ? b->data : NULL);
    if (pass.tail->tail.pool) make_planes(tape->arena, &pass, PANEL_MOST);
    make_mapped(tape->arena, &pass);
    conv_pass_along(&pass.conv, forward_run, &pass);
    arena_rewind(tape->arena, mark);
    return y;
}

Tensor *op_conv(Tape *tape, Tensor *x, Tensor *w, Tensor *b, const ConvSpec *spec) {
    return op_conv_tail(tape, x, w, b, spec, NULL);
}

/* d loss / d value of one sample and group, [R,P]. */
static const float *group_gradient(const Pass *pass, size_t s, int worker) {
    const TailWork *tail = pass->tail;
    const Deferred *deferred = tail->out->deferred;
    size_t rows = (size_t)pass->map->sides.rows, first = s * rows;
    if (!pass->planes) return tail->out->grad + s * pass->map->coarse;
    float *planes = pass->planes + (size_t)worker * pass->worker_planes;
    for (size_t r = 0; r < rows; r++) {
        float *plane = planes + r * tail->plane;
        if (deferred) {
            deferred->plane(deferred->context, first + r, plane);
            continue;
        }
        const float *g = tail_gradient(tail, first + r, plane);
        if (g != plane) memcpy(plane, g, sizeof *g * tail->plane);
        tail_addend_gradient(tail, first + r, g, pass->fresh >> ADDEND & 1);
    }
    return planes;
}

/* db, and x for dw. */
static void add_sample(const Pass *pass, const ConvRun *run, int slot, const float *g) {
    const ConvPass *conv = &pass->conv;
    size_t rows = (size_t)pass->map->sides.rows, plane = conv->plane[COARSE];
    float *db = partials_chunk(&pass->partials, run->chunk) + run->step * conv->gradient +
                (size_t)run->group * rows;
    for (size_t r = 0; pass->bias && r < rows; r++) db[r] += (float)row_sum(g + r * plane, plane);
    take_input(pass, run, slot);
}

/* With g[O,P] = d loss / d y of one sample and group:
 *   dw[o,k] = sum over p of g[o,p] columns[k,p]          dw = g columns'
 *   dcolumns[k,p] = sum over o of w[o,k] g[o,p]          dcolumns = w' g, each added to its dx
 *   db[o] = sum over p of g[o,p]
 * dw and db also sum over samples: here over those of a piece, in partials_sum over the pieces. */
static void backward_run(const void *context, const ConvRun *run) {
    const Pass *pass = context;
    const ConvMap *map = pass->map;
    const ConvPass *conv = &pass->conv;
    for (int i = 0; i < run->samples; i++) {
        const float *g = group_gradient(pass, conv_run_at(run, i), run->worker);
        map->method->take(conv, COARSE, i, g, run->worker);
        if (pass->sums) add_sample(pass, run, i, g);
    }
    if (pass->sums)
        map->method->weight(conv, run->samples,
                            partials_chunk(&pass->partials, run->chunk) +
                                (size_t)run->group * conv->gradient,
                            run->worker);
    if (!pass->x->needs_grad) return;
    map->method->multiply(conv, FINE, run->group, run->samples, run->worker);
    for (int i = 0; i < run->samples; i++)
        conv_pass_give(conv, FINE, run->group, i, pass->x->grad + conv_run_at(run, i) * map->fine,
                       !(pass->fresh & 1), run->worker);
}

static void backward_chunk(void *context, int i, int worker) {
    const Pass *pass = context;
    conv_pass_chunk(&pass->conv, i, worker, backward_run, pass);
}

static void add_sums(const Pass *pass, Tensor *w, Tensor *b) {
    const float *sums = partials_sum(&pass->partials);
    if (w->needs_grad) conv_pass_unpack(&pass->conv, sums, w->grad);
    sums += pass->conv.gradient * (size_t)pass->map->groups;
    for (size_t o = 0; pass->bias && o < b->count; o++) b->grad[o] += sums[o];
}

static void conv_backward(const Entry *entry) {
    const Conv *conv = entry->saved;
    const ConvMap *map = conv->map;
    Tensor *w = entry->in[1], *b = entry->in[2];
    Arena *arena = entry->tape->arena;
    ArenaMark mark = arena_mark(arena);
    Pass pass = {.map = map, .tail = conv->tail, .x = entry->in[0], .fresh = entry->fresh};
    if (!tail_empty(&conv->tail->tail) || conv->tail->out->deferred)
        make_planes(arena, &pass, map->sides.rows);
    make_mapped(arena, &pass);
    pass.bias = b && b->needs_grad;
    pass.sums = w->needs_grad || pass.bias;
    int uses = (pass.x->needs_grad ? CONV_UP : 0) | (pass.sums ? CONV_WEIGHT : 0);
    pass.conv = conv_pass_new(arena, map, uses, w->data, NULL);
    size_t size = size_mul(pass.conv.gradient, (size_t)map->groups) + (size_t)w->shape.dim[0];
    pass.partials = partials_new(arena, pass.sums ? size : 0, map->batch);
    partials_along(&pass.partials, backward_chunk, &pass);
    if (pass.sums) add_sums(&pass, w, b);
    arena_rewind(arena, mark);
}

static const struct {
    Shape x;
    int outputs;
    bool bias, constant; /* constant: x needs no gradient, as the images of the first layer */
    ConvSpec spec;       /* kernel, stride, padding, dilation, uneven; groups */
} trials[] = {
    {{4, {2, 3, 5, 4}}, 4, 1, 0, {{{1, 3, 2}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, {0}}, 1}},
    {{4, {CHUNK + 1, 1, 4, 4}}, 2, 1, 1, {{{1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, {0}}, 1}},
    {{4, {2, 2, 6, 7}}, 3, 0, 0, {{{1, 2, 3}, {1, 2, 3}, {0, 1, 2}, {1, 2, 1}, {0, 1, -1}}, 1}},
    {{4, {2, 4, 4, 5}}, 6, 1, 0, {{{1, 3, 1}, {1, 1, 2}, {0, 1, 0}, {1, 1, 1}, {0}}, 2}},
    {{4, {2, 3, 5, 5}}, 6, 1, 0, {{{1, 3, 3}, {1, 2, 2}, {0, 1, 1}, {1, 1, 1}, {0}}, 3}},
    {{4, {2, 3, 3, 2}}, 4, 0, 0, {{{1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, {0}}, 1}},
    {{3, {3, 2, 9}}, 3, 1, 0, {{{1, 1, 3}, {1, 1, 2}, {0, 0, 2}, {1, 1, 3}, {0}}, 1}},
    {{4, {2, 13, 7, 6}}, 14, 1, 0, {{{1, 3, 3}, {1, 1, 1}, {0, 1, 0}, {1, 1, 1}, {0, 0, 1}}, 1}},
    {{5, {2, 2, 4, 3, 5}}, 2, 1, 0, {{{3, 2, 2}, {2, 1, 3}, {1, 0, 1}, {1, 2, 1}, {0}}, 2}},
};

static void conv_sample(Arena *arena, Rng *rng, int trial, Sample *sample) {
    const ConvSpec *spec = &trials[trial].spec;
    Shape x = trials[trial].x, w = x;
    w.dim[0] = trials[trial].outputs;
    w.dim[1] = x.dim[1] / spec->groups;
    for (int i = 2; i < w.rank; i++) w.dim[i] = spec->window.kernel[SPATIAL - w.rank + i];
    sample->inputs = 3;
    sample->in[0] = sample_leaf(arena, rng, x, 1.0f);
    sample->in[0]->needs_grad = !trials[trial].constant;
    sample->in[1] = sample_leaf(arena, rng, w, 1.0f);
    sample->in[2] = trials[trial].bias ? sample_leaf(arena, rng, SHAPE(w.dim[0]), 1.0f) : NULL;
    sample->spec = spec;
}

static Tensor *conv_forward(Tape *tape, const Sample *sample) {
    return op_conv(tape, sample->in[0], sample->in[1], sample->in[2], sample->spec);
}

const Op conv_op = {
    .name = "conv",
    .backward = conv_backward,
    .fills = 1 | 1 << ADDEND,
    .samples = sizeof trials / sizeof *trials,
    .sample = conv_sample,
    .forward = conv_forward,
};
