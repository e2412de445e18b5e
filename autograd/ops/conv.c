/* Convolution (cross-correlation, as PyTorch's) over 1, 2 or 3 spatial dimensions, in groups:
 *
 *   y[n,o,p] = b[o] + sum over k of w[o,k] columns[k,p]
 *
 * where columns[K,P] are the patches of sample n: x is the fine side of a map, y the coarse one
 * (kernels/conv_map.h), one matrix product a sample and group. */
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
    Tensor *x, *w, *b, *y;
    float *scratch;
    Partials partials; /* backward's */
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

static void forward_group(const Pass *pass, size_t s, int group, int worker) {
    const ConvMap *map = pass->map;
    const float *columns =
        conv_map_columns(map, pass->x->data + s * map->fine, pass->scratch, worker);
    float *y = pass->y->data + s * map->coarse;
    if (pass->b) conv_bias(pass->b->data + group * map->rows, map->rows, (size_t)map->positions, y);
    const float *w = pass->w->data + (size_t)group * (size_t)map->rows * (size_t)map->depth;
    conv_map_down(map, w, columns, pass->b ? 1.0f : 0.0f, y);
}

static void forward_chunk(void *context, int i, int worker) {
    const Pass *pass = context;
    int groups = pass->map->groups;
    for (int n = chunk_begin(i); n < chunk_end(i, pass->map->batch); n++)
        for (int g = 0; g < groups; g++)
            forward_group(pass, (size_t)n * (size_t)groups + (size_t)g, g, worker);
}

Tensor *op_conv(Tape *tape, Tensor *x, Tensor *w, Tensor *b, const ConvSpec *spec) {
    check_shapes(x, w, b, spec);
    Tensor *y = tape_tensor(tape, window_shape(&spec->window, &x->shape, w->shape.dim[0]));
    const ConvMap *map =
        conv_map_new(tape->arena, &spec->window, spec->groups, &y->shape, &x->shape);
    tape_record(tape, &conv_op, y, 3, (Tensor *[]){x, w, b}, (void *)map);

    ArenaMark mark = arena_mark(tape->arena);
    Pass pass = {.map = map, .x = x, .w = w, .b = b, .y = y};
    pass.scratch = conv_map_scratch(tape->arena, map);
    parallel_for(chunk_count(map->batch), forward_chunk, &pass);
    arena_rewind(tape->arena, mark);
    return y;
}

/* With g[O,P] = d loss / d y of one sample and group:
 *   dw[o,k] = sum over p of g[o,p] columns[k,p]          dw = g columns'
 *   dcolumns[k,p] = sum over o of w[o,k] g[o,p]          dcolumns = w' g, scattered back into dx
 *   db[o] = sum over p of g[o,p]
 * dw and db also sum over samples: here over those of a chunk, in partials_add over the chunks. */
static void backward_group(const Pass *pass, float *partial, size_t s, int group, int worker) {
    const ConvMap *map = pass->map;
    const float *g = pass->y->grad + s * map->coarse;
    size_t weights = (size_t)group * (size_t)map->rows * (size_t)map->depth;
    if (pass->w->needs_grad)
        conv_map_weight(map, g,
                        conv_map_columns(map, pass->x->data + s * map->fine, pass->scratch, worker),
                        partial + weights);
    if (pass->b && pass->b->needs_grad)
        conv_bias_gradient(g, map->rows, (size_t)map->positions,
                           partial + pass->w->count + group * map->rows);
    if (pass->x->needs_grad)
        conv_map_up(map, pass->w->data + weights, g, pass->x->grad + s * map->fine, pass->scratch,
                    worker);
}

static void backward_chunk(void *context, int i, int worker) {
    const Pass *pass = context;
    int groups = pass->map->groups;
    float *partial = partials_chunk(&pass->partials, i);
    for (int n = chunk_begin(i); n < chunk_end(i, pass->map->batch); n++)
        for (int g = 0; g < groups; g++)
            backward_group(pass, partial, (size_t)n * (size_t)groups + (size_t)g, g, worker);
}

static void conv_backward(const Entry *entry) {
    const ConvMap *map = entry->saved;
    Arena *arena = entry->tape->arena;
    ArenaMark mark = arena_mark(arena);
    Pass pass = {
        .map = map, .x = entry->in[0], .w = entry->in[1], .b = entry->in[2], .y = entry->out};
    pass.partials = partials_new(arena, pass.w, pass.b, map->batch);
    pass.scratch = conv_map_scratch(arena, map);
    parallel_for(chunk_count(map->batch), backward_chunk, &pass);
    partials_add(&pass.partials);
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
