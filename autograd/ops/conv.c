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
#include "autograd/op.h"
#include "autograd/ops.h"

extern const Op conv_op;

/* One run over the batch, forward or backward. */
typedef struct Pass {
    const ConvMap *map;
    Tensor *x, *y;
    ConvPass down, up;
    Partials partials; /* of a chunk: dw by group as conv_pass_weight leaves it, then db[O] */
    size_t weights;    /* floats of one group's dw there */
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

static void forward_chunk(void *context, int i, int worker) {
    const Pass *pass = context;
    const ConvMap *map = pass->map;
    for (int n = chunk_begin(i); n < chunk_end(i, map->batch); n++)
        for (int g = 0; g < map->groups; g++) {
            size_t s = (size_t)n * (size_t)map->groups + (size_t)g;
            const float *x = conv_pass_frame(&pass->down, pass->x->data + s * map->fine, worker);
            conv_pass_run(&pass->down, g, x, pass->y->data + s * map->coarse, false, worker);
        }
}

Tensor *op_conv(Tape *tape, Tensor *x, Tensor *w, Tensor *b, const ConvSpec *spec) {
    check_shapes(x, w, b, spec);
    Tensor *y = tape_tensor(tape, window_shape(&spec->window, &x->shape, w->shape.dim[0]));
    const ConvMap *map =
        conv_map_new(tape->arena, &spec->window, spec->groups, &y->shape, &x->shape);
    tape_record(tape, &conv_op, y, 3, (Tensor *[]){x, w, b}, (void *)map);

    ArenaMark mark = arena_mark(tape->arena);
    Pass pass = {.map = map, .x = x, .y = y};
    pass.down = conv_pass_new(tape->arena, sweep_down(tape->arena, &map->sides), map->groups,
                              w->data, b ? b->data : NULL);
    parallel_for(chunk_count(map->batch), forward_chunk, &pass);
    arena_rewind(tape->arena, mark);
    return y;
}

/* With g[O,P] = d loss / d y of one sample and group:
 *   dw[o,k] = sum over p of g[o,p] columns[k,p]          dw = g columns'
 *   dcolumns[k,p] = sum over o of w[o,k] g[o,p]          dcolumns = w' g, each added to its dx
 *   db[o] = sum over p of g[o,p]
 * dw and db also sum over samples: here over those of a chunk, in partials_sum over the chunks. */
static void backward_group(const Pass *pass, float *partial, size_t s, int group, int worker) {
    const ConvMap *map = pass->map;
    const float *g = pass->y->grad + s * map->coarse;
    if (pass->weights) {
        const float *x = conv_pass_frame(&pass->down, pass->x->data + s * map->fine, worker);
        float *db = partial + pass->weights * (size_t)map->groups + group * map->sides.rows;
        conv_pass_weight(&pass->down, x, g, partial + (size_t)group * pass->weights, db, worker);
    }
    if (pass->x->needs_grad)
        conv_pass_run(&pass->up, group, conv_pass_frame(&pass->up, g, worker),
                      pass->x->grad + s * map->fine, true, worker);
}

static void backward_chunk(void *context, int i, int worker) {
    const Pass *pass = context;
    int groups = pass->map->groups;
    float *partial = pass->weights ? partials_chunk(&pass->partials, i) : NULL;
    for (int n = chunk_begin(i); n < chunk_end(i, pass->map->batch); n++)
        for (int g = 0; g < groups; g++)
            backward_group(pass, partial, (size_t)n * (size_t)groups + (size_t)g, g, worker);
}

static void add_sums(const Pass *pass, Tensor *w, Tensor *b) {
    const ConvMap *map = pass->map;
    const float *sums = partials_sum(&pass->partials);
    for (int g = 0; w->needs_grad && g < map->groups; g++)
        conv_pass_unpack(&pass->down, sums + (size_t)g * pass->weights,
                         w->grad + (size_t)g * map->weights);
    sums += pass->weights * (size_t)map->groups;
    for (size_t o = 0; b && b->needs_grad && o < b->count; o++) b->grad[o] += sums[o];
}

static void conv_backward(const Entry *entry) {
    const ConvMap *map = entry->saved;
    Tensor *w = entry->in[1], *b = entry->in[2];
    Arena *arena = entry->tape->arena;
    ArenaMark mark = arena_mark(arena);
    Pass pass = {.map = map, .x = entry->in[0], .y = entry->out};
    if (pass.x->needs_grad)
        pass.up = conv_pass_new(arena, sweep_up(arena, &map->sides), map->groups, w->data, NULL);
    bool sums = w->needs_grad || (b && b->needs_grad);
    if (sums) {
        pass.down = conv_pass_new(arena, sweep_down(arena, &map->sides), map->groups, NULL, NULL);
        pass.weights = conv_pass_gradient(&pass.down);
        size_t size = size_mul(pass.weights, (size_t)map->groups) + (size_t)w->shape.dim[0];
        pass.partials = partials_new(arena, size, map->batch);
    }
    parallel_for(chunk_count(map->batch), backward_chunk, &pass);
    if (sums) add_sums(&pass, w, b);
    arena_rewind(arena, mark);
}

static const struct {
    Shape x;
    int outputs;
    bool bias, constant; /* constant: x needs no gradient, as the images of the first layer */
    ConvSpec spec;       /* kernel, stride, padding, dilation; groups */
} trials[] = {
    {{4, {2, 3, 5, 4}}, 4, true, false, {{{1, 3, 2}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}}, 1}},
    {{4, {CHUNK + 1, 1, 4, 4}}, 2, true, true, {{{1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}}, 1}},
    {{4, {2, 2, 6, 7}}, 3, false, false, {{{1, 2, 3}, {1, 2, 3}, {0, 1, 2}, {1, 2, 1}}, 1}},
    {{4, {2, 4, 4, 5}}, 6, true, false, {{{1, 3, 1}, {1, 1, 2}, {0, 1, 0}, {1, 1, 1}}, 2}},
    {{4, {2, 3, 5, 5}}, 6, true, false, {{{1, 3, 3}, {1, 2, 2}, {0, 1, 1}, {1, 1, 1}}, 3}},
    {{4, {2, 3, 3, 2}}, 4, false, false, {{{1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}}, 1}},
    {{3, {3, 2, 9}}, 3, true, false, {{{1, 1, 3}, {1, 1, 2}, {0, 0, 2}, {1, 1, 3}}, 1}},
    {{5, {2, 2, 4, 3, 5}}, 2, true, false, {{{3, 2, 2}, {2, 1, 3}, {1, 0, 1}, {1, 2, 1}}, 2}},
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
    .samples = sizeof trials / sizeof *trials,
    .sample = conv_sample,
    .forward = conv_forward,
};
