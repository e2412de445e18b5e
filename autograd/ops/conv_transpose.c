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
    ConvPass down, up;
    bool bias;         /* its gradient is wanted */
    Partials partials; /* of a chunk: dw by group as conv_pass_weight leaves it, then db[O] */
    size_t weights;    /* floats of one group's dw there; 0: not wanted */
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

static void forward_chunk(void *context, int i, int worker) {
    const Pass *pass = context;
    const ConvMap *map = pass->map;
    for (int n = chunk_begin(i); n < chunk_end(i, map->batch); n++)
        for (int g = 0; g < map->groups; g++) {
            size_t s = (size_t)n * (size_t)map->groups + (size_t)g;
            const float *x = conv_pass_frame(&pass->up, pass->x->data + s * map->coarse, worker);
            conv_pass_run(&pass->up, g, x, pass->y->data + s * map->fine, false, worker);
        }
}

Tensor *op_conv_transpose(Tape *tape, Tensor *x, Tensor *w, Tensor *b,
                          const ConvTransposeSpec *spec) {
    check_shapes(x, w, b, spec);
    Tensor *y = tape_tensor(tape, result_shape(spec, &x->shape, w->shape.dim[1] * spec->groups));
    const ConvMap *map =
        conv_map_new(tape->arena, &spec->window, spec->groups, &x->shape, &y->shape);
    tape_record(tape, &conv_transpose_op, y, 3, (Tensor *[]){x, w, b}, (void *)map);

    ArenaMark mark = arena_mark(tape->arena);
    Pass pass = {.map = map, .x = x, .y = y};
    pass.up = conv_pass_new(tape->arena, sweep_up(tape->arena, &map->sides), map->groups, w->data,
                            b ? b->data : NULL);
    parallel_for(chunk_count(map->batch), forward_chunk, &pass);
    arena_rewind(tape->arena, mark);
    return y;
}

/* With g = d loss / d y of one sample and group, and columns[K,P] what lies under the window in g:
 *   dx[c,p] = sum over k of w[c,k] columns[k,p]          dx = w columns: a convolution of g
 *   dw[c,k] = sum over p of x[c,p] columns[k,p]          dw = x columns'
 *   db[o] = sum over q of g[o,q]
 * dw and db also sum over samples: here over those of a chunk, in partials_sum over the chunks. */
static void backward_group(const Pass *pass, float *partial, size_t s, int group, int worker) {
    const ConvMap *map = pass->map;
    int outputs = map->sides.channels;
    const float *g = pass->y->grad + s * map->fine;
    size_t plane = map->fine / (size_t)outputs;
    float *db = partial + pass->weights * (size_t)map->groups + group * outputs;
    for (int o = 0; pass->bias && o < outputs; o++)
        db[o] += (float)row_sum(g + (size_t)o * plane, plane);
    if (!pass->weights && !pass->x->needs_grad) return;
    const float *frame = conv_pass_frame(&pass->down, g, worker);
    if (pass->weights)
        conv_pass_weight(&pass->down, frame, pass->x->data + s * map->coarse,
                         partial + (size_t)group * pass->weights, NULL, worker);
    if (pass->x->needs_grad)
        conv_pass_run(&pass->down, group, frame, pass->x->grad + s * map->coarse, true, worker);
}

static void backward_chunk(void *context, int i, int worker) {
    const Pass *pass = context;
    int groups = pass->map->groups;
    float *partial = partials_chunk(&pass->partials, i);
    for (int n = chunk_begin(i); n < chunk_end(i, pass->map->batch); n++)
        for (int g = 0; g < groups; g++)
            backward_group(pass, partial, (size_t)n * (size_t)groups + (size_t)g, g, worker);
}

static void conv_transpose_backward(const Entry *entry) {
    const ConvMap *map = entry->saved;
    Tensor *w = entry->in[1], *b = entry->in[2];
    Arena *arena = entry->tape->arena;
    ArenaMark mark = arena_mark(arena);
    size_t groups = (size_t)map->groups;
    Pass pass = {.map = map, .x = entry->in[0], .y = entry->out, .bias = b && b->needs_grad};
    pass.down = conv_pass_new(arena, sweep_down(arena, &map->sides), map->groups, w->data, NULL);
    pass.weights = w->needs_grad ? conv_pass_gradient(&pass.down) : 0;
    size_t size = size_mul(pass.weights, groups) + groups * (size_t)map->sides.channels;
    pass.partials = partials_sized(arena, size, map->batch);
    parallel_for(chunk_count(map->batch), backward_chunk, &pass);
    const float *sums = partials_sum(&pass.partials);
    for (size_t g = 0; pass.weights && g < groups; g++)
        conv_pass_unpack(&pass.down, sums + g * pass.weights, w->grad + g * map->weights);
    for (size_t o = 0; pass.bias && o < b->count; o++)
        b->grad[o] += sums[pass.weights * groups + o];
    arena_rewind(arena, mark);
}

static const struct {
    Shape x;
    int outputs;
    bool bias, constant;    /* constant: x needs no gradient */
    ConvTransposeSpec spec; /* kernel, stride, padding, dilation, uneven; output padding; groups */
} trials[] = {
    {{4, {2, 3, 3, 2}},
     2,
     1,
     0,
     {{{1, 3, 2}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, {0, 0, 0}}, {0, 0, 0}, 1}},
    {{4, {CHUNK + 1, 2, 2, 3}},
     2,
     1,
     1,
     {{{1, 3, 2}, {1, 2, 3}, {0, 1, 0}, {1, 1, 1}, {0, 0, 0}}, {0, 1, 2}, 1}},
    {{4, {2, 4, 3, 2}},
     6,
     0,
     0,
     {{{1, 3, 3}, {1, 2, 1}, {0, 2, 1}, {1, 2, 1}, {0, -1, 1}}, {0, 0, 0}, 2}},
    {{4, {2, 3, 3, 3}},
     3,
     1,
     0,
     {{{1, 2, 2}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}, {0, 0, 0}}, {0, 0, 0}, 3}},
    {{4, {2, 3, 3, 2}},
     4,
     0,
     0,
     {{{1, 1, 1}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, {0, 0, 0}}, {0, 0, 0}, 1}},
    {{4, {1, 2, 3, 3}},
     2,
     1,
     0,
     {{{1, 1, 2}, {1, 1, 1}, {0, 0, 0}, {1, 2, 3}, {0, 0, 0}}, {0, 1, 2}, 1}},
    {{3, {3, 2, 5}},
     3,
     1,
     0,
     {{{1, 1, 3}, {1, 1, 2}, {0, 0, 2}, {1, 1, 3}, {0, 0, 0}}, {0, 0, 1}, 1}},
    {{5, {2, 2, 2, 3, 2}},
     4,
     1,
     0,
     {{{2, 1, 2}, {2, 1, 3}, {1, 0, 0}, {1, 2, 1}, {0, 0, 0}}, {1, 0, 2}, 2}},
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
