/* Transposed convolution (PyTorch's ConvTransposeNd) over 1, 2 or 3 spatial dimensions, in groups:
 * the transpose of the map of a convolution with the same weights. What a convolution reads it
 * writes:
 *
 *   columns[k,p] = sum over c of w[c,k] x[n,c,p]        k: output channel and kernel place
 *   y[n,o,q]     = b[o] + sum of the columns that lie on q
 *
 * Here x is the coarse side of the map (kernels/conv_map.h) and y the fine one. */
#include "autograd/error.h"
#include "autograd/kernels/conv_map.h"
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/partials.h"
#include "autograd/kernels/sums.h"
#include "autograd/op.h"
#include "autograd/ops.h"

extern const Op conv_transpose_op;

/* One run over the batch, forward or backward. */
typedef struct Pass {
    const ConvMap *map;
    Tensor *x, *y;
    ConvPass conv;
    bool bias, weight; /* their gradients are wanted */
    Partials partials; /* of a piece: dw by group as the method leaves it, then db[O] */
} Pass;

static void check_shapes(const Tensor *x, const Tensor *w, const Tensor *b,
                         const ConvTransposeSpec *spec) {
    char text[2][SHAPE_TEXT];
    const Shape *xs = &x->shape, *ws = &w->shape;
    int groups = spec->groups;
    CHECK(xs->rank == ws->rank && groups > 0 && ws->dim[0] % groups == 0 &&
              xs->dim[1] == ws->dim[0],
          "conv_transpose: x %s, w %s, %d groups", shape_text(xs, text[0]), shape_text(ws, text[1]),
          groups);
    int kernel[SPATIAL];
    window_sizes(ws, kernel);
    for (int d = 0; d < SPATIAL; d++)
        CHECK(kernel[d] == spec->window.kernel[d], "conv_transpose: w %s, a window of %d",
              shape_text(ws, text[0]), spec->window.kernel[d]);
    CHECK(!b || (b->shape.rank == 1 && b->shape.dim[0] == ws->dim[1] * groups),
          "conv_transpose: w %s, b %s, %d groups", shape_text(ws, text[0]),
          shape_text(&b->shape, text[1]), groups);
}

int64_t conv_transpose_out(const ConvTransposeSpec *spec, int d, int in) {
    const Window *w = &spec->window;
    return (int64_t)(in - 1) * w->stride[d] - w->padding[d] - window_padding_end(w, d) +
           w->dilation[d] * (w->kernel[d] - 1) + spec->output_padding[d] + 1;
}

static Shape result_shape(const ConvTransposeSpec *spec, const Shape *x, int channels) {
    int size[SPATIAL];
    window_sizes(x, size);
    Shape out = {.rank = x->rank, .dim = {x->dim[0], channels}};
    for (int i = 2; i < x->rank; i++) {
        int d = SPATIAL - x->rank + i;
        int64_t length = conv_transpose_out(spec, d, size[d]);
        CHECK(length > 0 && length <= INT32_MAX, "conv_transpose: an input of %d gives %lld",
              size[d], (long long)length);
        out.dim[i] = (int)length;
    }
    return out;
}

static void forward_run(const void *context, const ConvRun *run) {
    const Pass *pass = context;
    const ConvMap *map = pass->map;
    for (int i = 0; i < run->samples; i++)
        map->method->take(&pass->conv, COARSE, i, pass->x->data + conv_run_at(run, i) * map->coarse,
                          run->worker);
    map->method->multiply(&pass->conv, FINE, run->group, run->samples, run->worker);
    for (int i = 0; i < run->samples; i++)
        conv_pass_give(&pass->conv, FINE, run->group, i,
                       pass->y->data + conv_run_at(run, i) * map->fine, false, run->worker);
}

Tensor *op_conv_transpose(Tape *tape, Tensor *x, Tensor *w, Tensor *b,
                          const ConvTransposeSpec *spec) {
    check_shapes(x, w, b, spec);
    Tensor *y = tape_tensor(tape, result_shape(spec, &x->shape, w->shape.dim[1] * spec->groups));
    const ConvMap *map =
        conv_map_new(tape->arena, &spec->window, spec->groups, &x->shape, &y->shape, tape->exact);
    tape_record(tape, &conv_transpose_op, y, 3, (Tensor *[]){x, w, b}, (void *)map);

    ArenaMark mark = arena_mark(tape->arena);
    Pass pass = {.map = map, .x = x, .y = y};
    pass.conv = conv_pass_new(tape->arena, map, CONV_UP, w->data, b ? b->data : NULL);
    conv_pass_along(&pass.conv, forward_run, &pass);
    arena_rewind(tape->arena, mark);
    return y;
}

/* With g = d loss / d y of one sample and group, and columns[K,P] what lies under the window in g:
 *   dx[c,p] = sum over k of w[c,k] columns[k,p]          dx = w columns: a convolution of g
 *   dw[c,k] = sum over p of x[c,p] columns[k,p]          dw = x columns'
 *   db[o] = sum over q of g[o,q]
 * dw and db also sum over samples: here over those of a piece, in partials_sum over the pieces. */
static void backward_run(const void *context, const ConvRun *run) {
    const Pass *pass = context;
    const ConvMap *map = pass->map;
    const ConvPass *conv = &pass->conv;
    size_t outputs = (size_t)map->sides.channels, plane = conv->plane[FINE];
    size_t group = (size_t)run->group;
    float *partial = partials_chunk(&pass->partials, run->chunk);
    float *dw = partial + group * conv->gradient;
    float *db = partial + run->step * conv->gradient + group * outputs;
    for (int i = 0; i < run->samples; i++) {
        size_t s = conv_run_at(run, i);
        const float *g = pass->y->grad + s * map->fine, *x = pass->x->data + s * map->coarse;
        for (size_t o = 0; pass->bias && o < outputs; o++)
            db[o] += (float)row_sum(g + o * plane, plane);
        if (pass->weight || pass->x->needs_grad) map->method->take(conv, FINE, i, g, run->worker);
        if (pass->weight) map->method->take(conv, COARSE, i, x, run->worker);
    }
    if (pass->weight) map->method->weight(conv, run->samples, dw, run->worker);
    if (!pass->x->needs_grad) return;
    map->method->multiply(conv, COARSE, run->group, run->samples, run->worker);
    for (int i = 0; i < run->samples; i++)
        conv_pass_give(conv, COARSE, run->group, i,
                       pass->x->grad + conv_run_at(run, i) * map->coarse, true, run->worker);
}

static void backward_chunk(void *context, int i, int worker) {
    const Pass *pass = context;
    conv_pass_chunk(&pass->conv, i, worker, backward_run, pass);
}

static void conv_transpose_backward(const Entry *entry) {
    const ConvMap *map = entry->saved;
    Tensor *w = entry->in[1], *b = entry->in[2];
    Arena *arena = entry->tape->arena;
    ArenaMark mark = arena_mark(arena);
    size_t groups = (size_t)map->groups;
    Pass pass = {.map = map, .x = entry->in[0], .y = entry->out};
    pass.bias = b && b->needs_grad;
    pass.weight = w->needs_grad;
    int uses = (pass.x->needs_grad ? CONV_DOWN : 0) | (pass.weight ? CONV_WEIGHT : 0);
    pass.conv = conv_pass_new(arena, map, uses, w->data, NULL);
    size_t size = size_mul(pass.conv.gradient, groups) + groups * (size_t)map->sides.channels;
    pass.partials = partials_new(arena, size, map->batch);
    partials_along(&pass.partials, backward_chunk, &pass);
    const float *sums = partials_sum(&pass.partials);
    if (pass.weight) conv_pass_unpack(&pass.conv, sums, w->grad);
    for (size_t o = 0; pass.bias && o < b->count; o++)
        b->grad[o] += sums[pass.conv.gradient * groups + o];
    arena_rewind(arena, mark);
}

static const struct {
    Shape x;
    int outputs;
    bool bias, constant;    /* constant: x needs no gradient */
    ConvTransposeSpec spec; /* kernel, stride, padding, dilation, uneven; output padding; groups */
} trials[] = {
    {{4, {2, 3, 3, 2}}, 2, 1, 0, {{{1, 3, 2}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, {0}}, {0}, 1}},
    {{4, {CHUNK + 1, 2, 2, 3}},
     2,
     1,
     1,
     {{{1, 3, 2}, {1, 2, 3}, {0, 1, 0}, {1, 1, 1}, {0}}, {0, 1, 2}, 1}},
    {{4, {2, 4, 3, 2}},
     6,
     0,
     0,
     {{{1, 3, 3}, {1, 2, 1}, {0, 2, 1}, {1, 2, 1}, {0, -1, 1}}, {0}, 2}},
    {{4, {2, 3, 3, 3}}, 3, 1, 0, {{{1, 2, 2}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}, {0}}, {0}, 3}},
    {{4, {2, 3, 3, 2}}, 4, 0, 0, {{{1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, {0}}, {0}, 1}},
    {{4, {1, 2, 3, 3}}, 2, 1, 0, {{{1, 1, 2}, {1, 1, 1}, {0, 0, 0}, {1, 2, 3}, {0}}, {0, 1, 2}, 1}},
    {{3, {3, 2, 5}}, 3, 1, 0, {{{1, 1, 3}, {1, 1, 2}, {0, 0, 2}, {1, 1, 3}, {0}}, {0, 0, 1}, 1}},
    {{4, {2, 14, 7, 4}}, 13, 1, 0, {{{1, 3, 3}, {1, 1, 1}, {0, 1, 0}, {1, 1, 1}, {0}}, {0}, 1}},
    {{5, {2, 2, 2, 3, 2}},
     4,
     1,
     0,
     {{{2, 1, 2}, {2, 1, 3}, {1, 0, 0}, {1, 2, 1}, {0}}, {1, 0, 2}, 2}},
};

static void conv_transpose_sample(Arena *arena, Rng *rng, int trial, Sample *sample) {
    const ConvTransposeSpec *spec = &trials[trial].spec;
    Shape x = trials[trial].x, w = x;
    w.dim[0] = x.dim[1];
    w.dim[1] = trials[trial].outputs / spec->groups;
    for (int i = 2; i < w.rank; i++) w.dim[i] = spec->window.kernel[SPATIAL - w.rank + i];
    sample->inputs = 3;
    sample->in[0] = sample_leaf(arena, rng, x, 1.0f);
    sample->in[0]->needs_grad = !trials[trial].constant;
    sample->in[1] = sample_leaf(arena, rng, w, 1.0f);
    sample->in[2] =
        trials[trial].bias ? sample_leaf(arena, rng, SHAPE(trials[trial].outputs), 1.0f) : NULL;
    sample->spec = spec;
}

static Tensor *conv_transpose_forward(Tape *tape, const Sample *sample) {
    return op_conv_transpose(tape, sample->in[0], sample->in[1], sample->in[2], sample->spec);
}

const Op conv_transpose_op = {
    .name = "conv_transpose",
    .backward = conv_transpose_backward,
    .samples = sizeof trials / sizeof *trials,
    .sample = conv_transpose_sample,
    .forward = conv_transpose_forward,
};
