/* Convolution (cross-correlation, as PyTorch's) over 1, 2 or 3 spatial dimensions, in groups:
 *
 *   y[n,o,p] = b[o] + sum over k of w[o,k] columns[k,p]
 *
 * where columns[K,P] are the patches of sample n (kernels/patches.h): one matrix product a sample
 * and group. Groups cut C and O alike, and the letters are one group's: K = C * kernel places. */
#include "autograd/error.h"
#include "autograd/kernels/gemm.h"
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/patches.h"
#include "autograd/op.h"
#include "autograd/ops.h"

extern const Op conv_op;

typedef struct Conv {
    Window window;
    Patches patches;               /* of one group's channels */
    int batch, groups;             /* N, and groups of each sample */
    int outputs, depth, positions; /* O K P of the product */
    size_t x_size, y_size;         /* floats of one sample's group in x and y */
    size_t scratch;                /* floats of columns for one worker; 0 if x serves as it is */
} Conv;

/* One run over the batch, forward or backward. */
typedef struct Pass {
    const Conv *conv;
    Tensor *x, *w, *b, *y;
    float *scratch; /* [worker][conv->scratch] */
    float *partial; /* [chunk][partial_size]: each chunk's dw, then its db */
    size_t partial_size;
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

/* Owned by the arena. */
static const Conv *conv_new(Arena *arena, const Tensor *x, const Tensor *w, const ConvSpec *spec) {
    Conv *conv = arena_alloc(arena, sizeof *conv);
    *conv = (Conv){.window = spec->window, .batch = x->shape.dim[0], .groups = spec->groups};
    conv->patches = patches_of(&conv->window, w->shape.dim[1], &x->shape);
    conv->outputs = w->shape.dim[0] / spec->groups;
    conv->depth = patches_rows(&conv->patches);
    conv->positions = patches_columns(&conv->patches);
    conv->x_size = size_mul((size_t)w->shape.dim[1], patches_plane(&conv->patches));
    conv->y_size = size_mul((size_t)conv->outputs, (size_t)conv->positions);
    enum { LINE = 16 }; /* floats of a cache line, which workers must not share */
    if (!patches_identity(&conv->patches))
        conv->scratch = size_mul((size_t)conv->depth, (size_t)conv->positions) / LINE * LINE + LINE;
    return conv;
}

static float *scratch_new(Arena *arena, const Conv *conv) {
    size_t floats = size_mul(conv->scratch, (size_t)parallel_threads());
    return arena_alloc(arena, size_mul(floats, sizeof(float)));
}

/* columns[K,P] of group s, counted through the samples. */
static const float *columns_of(const Pass *pass, size_t s, int worker) {
    const float *x = pass->x->data + s * pass->conv->x_size;
    if (!pass->conv->scratch) return x;
    float *columns = pass->scratch + (size_t)worker * pass->conv->scratch;
    patches_gather(&pass->conv->patches, x, columns);
    return columns;
}

static size_t weight_offset(const Conv *conv, int group) {
    return (size_t)group * (size_t)conv->outputs * (size_t)conv->depth;
}

static void forward_group(const Pass *pass, int sample, int group, int worker) {
    const Conv *conv = pass->conv;
    size_t s = (size_t)sample * (size_t)conv->groups + (size_t)group;
    float *y = pass->y->data + s * conv->y_size;
    if (pass->b) {
        const float *b = pass->b->data + (size_t)group * (size_t)conv->outputs;
        for (int o = 0; o < conv->outputs; o++)
            for (int p = 0; p < conv->positions; p++)
                y[(size_t)o * (size_t)conv->positions + p] = b[o];
    }
    gemm(conv->outputs, conv->positions, conv->depth,
         mat(pass->w->data + weight_offset(conv, group), conv->depth),
         mat(columns_of(pass, s, worker), conv->positions), pass->b ? 1.0f : 0.0f, y,
         conv->positions);
}

static void forward_chunk(void *context, int i, int worker) {
    const Pass *pass = context;
    for (int n = chunk_begin(i); n < chunk_end(i, pass->conv->batch); n++)
        for (int g = 0; g < pass->conv->groups; g++) forward_group(pass, n, g, worker);
}

Tensor *op_conv(Tape *tape, Tensor *x, Tensor *w, Tensor *b, const ConvSpec *spec) {
    check_shapes(x, w, b, spec);
    const Conv *conv = conv_new(tape->arena, x, w, spec);
    Tensor *y = tape_tensor(tape, window_shape(&spec->window, &x->shape, w->shape.dim[0]));
    tape_record(tape, &conv_op, y, 3, (Tensor *[]){x, w, b}, (void *)conv);

    ArenaMark mark = arena_mark(tape->arena);
    Pass pass = {.conv = conv, .x = x, .w = w, .b = b, .y = y};
    pass.scratch = scratch_new(tape->arena, conv);
    parallel_for(chunk_count(conv->batch), forward_chunk, &pass);
    arena_rewind(tape->arena, mark);
    return y;
}

/* A plain loop is one chain of additions, each waiting for the last; LANES chains overlap. */
static float sum(const float *x, int count) {
    enum { LANES = 16 };
    float lane[LANES] = {0}, total = 0;
    int i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int j = 0; j < LANES; j++) lane[j] += x[i + j];
    for (int j = 0; j < LANES; j++) total += lane[j];
    for (; i < count; i++) total += x[i];
    return total;
}

/* With g[O,P] = d loss / d y of one sample and group:
 *   dw[o,k] = sum over p of g[o,p] columns[k,p]          dw = g columns'
 *   dcolumns[k,p] = sum over o of w[o,k] g[o,p]          dcolumns = w' g, scattered back into dx
 *   db[o] = sum over p of g[o,p]
 * dw and db also sum over samples: here over those of a chunk, in add_partials over the chunks. */
static void backward_group(const Pass *pass, float *partial, size_t s, int group, int worker) {
    const Conv *conv = pass->conv;
    int outputs = conv->outputs, depth = conv->depth, positions = conv->positions;
    const float *g = pass->y->grad + s * conv->y_size;
    size_t weights = weight_offset(conv, group);
    if (pass->w->needs_grad)
        gemm(outputs, depth, positions, mat(g, positions),
             mat_t(columns_of(pass, s, worker), positions), 1.0f, partial + weights, depth);
    if (pass->b && pass->b->needs_grad) {
        float *db = partial + pass->w->count + (size_t)group * (size_t)outputs;
        for (int o = 0; o < outputs; o++)
            db[o] += sum(g + (size_t)o * (size_t)positions, positions);
    }
    if (pass->x->needs_grad) {
        float *dx = pass->x->grad + s * conv->x_size;
        float *dcolumns = pass->scratch + (size_t)worker * conv->scratch;
        bool direct = conv->scratch == 0;
        gemm(depth, positions, outputs, mat_t(pass->w->data + weights, depth), mat(g, positions),
             direct ? 1.0f : 0.0f, direct ? dx : dcolumns, positions);
        if (!direct) patches_scatter(&conv->patches, dcolumns, dx);
    }
}

static void backward_chunk(void *context, int i, int worker) {
    const Pass *pass = context;
    const Conv *conv = pass->conv;
    float *partial = pass->partial + (size_t)i * pass->partial_size;
    for (size_t j = 0; j < pass->partial_size; j++) partial[j] = 0;
    for (int n = chunk_begin(i); n < chunk_end(i, conv->batch); n++)
        for (int g = 0; g < conv->groups; g++)
            backward_group(pass, partial, (size_t)n * (size_t)conv->groups + (size_t)g, g, worker);
}

enum { BLOCK = 4096 }; /* elements of a partial in one piece */

/* Adds the chunks' partials, in their order, to elements of dw and db. */
static void add_partials(void *context, int i, int worker) {
    (void)worker;
    const Pass *pass = context;
    size_t begin = (size_t)i * BLOCK, end = begin + BLOCK, weights = pass->w->count;
    if (end > pass->partial_size) end = pass->partial_size;
    for (int chunk = 0; chunk < chunk_count(pass->conv->batch); chunk++) {
        const float *partial = pass->partial + (size_t)chunk * pass->partial_size;
        size_t j = begin;
        if (pass->w->needs_grad)
            for (; j < end && j < weights; j++) pass->w->grad[j] += partial[j];
        if (pass->b && pass->b->needs_grad)
            for (j = j < weights ? weights : j; j < end; j++)
                pass->b->grad[j - weights] += partial[j];
    }
}

static void conv_backward(const Entry *entry) {
    const Conv *conv = entry->saved;
    Arena *arena = entry->tape->arena;
    ArenaMark mark = arena_mark(arena);
    Pass pass = {
        .conv = conv, .x = entry->in[0], .w = entry->in[1], .b = entry->in[2], .y = entry->out};
    pass.partial_size = pass.w->count + (pass.b ? pass.b->count : 0);
    size_t floats = size_mul(pass.partial_size, (size_t)chunk_count(conv->batch));
    pass.partial = arena_alloc(arena, size_mul(floats, sizeof(float)));
    pass.scratch = scratch_new(arena, conv);
    parallel_for(chunk_count(conv->batch), backward_chunk, &pass);
    parallel_for((int)((pass.partial_size + BLOCK - 1) / BLOCK), add_partials, &pass);
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
