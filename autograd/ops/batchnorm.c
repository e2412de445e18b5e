/* Batch normalisation (Ioffe, Szegedy 2015): for each channel of x[N,C,P], over its M = N P
 * elements,
 *
 *   y = gamma h + beta,   h = r (x - mean),   r = 1 / sqrt(var + eps)
 *
 * Training takes mean and (biased) var of the batch and moves the running statistics, with the
 * unbiased variance; evaluation takes the running ones. One channel is one worker's, so each sum
 * has one order. */
#include <math.h>

#include "autograd/error.h"
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/sums.h"
#include "autograd/kernels/vector.h"
#include "autograd/op.h"
#include "autograd/ops.h"
#include "autograd/tail.h"

extern const Op batchnorm_op;

typedef struct BatchNorm {
    int batch, channels, row; /* N C P: a channel is N contiguous rows of P floats */
    bool training;
    float *mean, *r; /* [C] as used by forward */
    TailWork *tail;
} BatchNorm;

typedef struct Forward {
    const Entry *entry;
    const BatchNormSpec *spec;
    float *planes; /* [workers][P] */
} Forward;

enum { ADDEND = 3 }; /* the tail's, among the inputs */

/* Where row n of channel c begins. */
static size_t row_begin(const BatchNorm *b, int n, int c) {
    return ((size_t)n * (size_t)b->channels + (size_t)c) * (size_t)b->row;
}

/* Mean first, then the squares around it: E[x^2] - mean^2 would cancel. */
static void batch_statistics(const BatchNorm *b, const float *x, const BatchNormSpec *spec, int c,
                             float *mean, float *var) {
    double count = (double)b->batch * b->row, sum = 0, squares = 0;
    for (int n = 0; n < b->batch; n++) sum += row_sum(x + row_begin(b, n, c), (size_t)b->row);
    *mean = (float)(sum / count);
    for (int n = 0; n < b->batch; n++) {
        const float *row = x + row_begin(b, n, c);
        squares += row_dot(row, *mean, row, *mean, (size_t)b->row);
    }
    *var = (float)(squares / count);
    /* the running statistics; a single element has no unbiased variance */
    float unbiased = count > 1 ? (float)(squares / (count - 1)) : *var, m = spec->momentum;
    spec->mean[c] = (1 - m) * spec->mean[c] + m * *mean;
    spec->var[c] = (1 - m) * spec->var[c] + m * unbiased;
}

VECTOR static void normalize_row(const float *restrict x, int count, float mean, float scale,
                                 float beta, float *restrict y) {
    for (int i = 0; i < count; i++) y[i] = scale * (x[i] - mean) + beta;
}

static void forward_channel(void *context, int c, int worker) {
    const Forward *f = context;
    const BatchNorm *b = f->entry->saved;
    const float *x = f->entry->in[0]->data;
    float mean = f->spec->mean[c], var = f->spec->var[c];
    if (b->training) batch_statistics(b, x, f->spec, c, &mean, &var);
    b->mean[c] = mean;
    b->r[c] = 1 / sqrtf(var + f->spec->eps);
    float scale = f->entry->in[1]->data[c] * b->r[c], beta = f->entry->in[2]->data[c];
    for (int n = 0; n < b->batch; n++) {
        size_t plane = (size_t)n * (size_t)b->channels + (size_t)c;
        float *y = tail_target(b->tail, plane, f->planes + (size_t)worker * (size_t)b->row);
        normalize_row(x + row_begin(b, n, c), b->row, mean, scale, beta, y);
        tail_run(b->tail, plane, y);
    }
}

static float *worker_planes(Arena *arena, const BatchNorm *b) {
    size_t floats = size_mul((size_t)b->row, (size_t)parallel_threads());
    return arena_alloc(arena, size_mul(floats, sizeof(float)));
}

Tensor *op_batchnorm_tail(Tape *tape, Tensor *x, Tensor *gamma, Tensor *beta,
                          const BatchNormSpec *spec, const Tail *tail) {
    CHECK(x->shape.rank >= 2 && x->shape.rank <= 5 && x->count > 0, "batchnorm: x %s",
          shape_text(&x->shape, (char[SHAPE_TEXT]){0}));
    int batch = x->shape.dim[0], channels = x->shape.dim[1];
    Shape each = SHAPE(channels);
    CHECK(shape_equal(&gamma->shape, &each) && shape_equal(&beta->shape, &each),
          "batchnorm: %d channels, gamma %s, beta %s", channels,
          shape_text(&gamma->shape, (char[SHAPE_TEXT]){0}),
          shape_text(&beta->shape, (char[SHAPE_TEXT]){0}));
    BatchNorm *b = arena_alloc(tape->arena, sizeof *b);
    *b = (BatchNorm){.batch = batch, .channels = channels, .training = spec->training};
    b->row = (int)(x->count / (size_t)batch / (size_t)channels);
    b->mean = tape_tensor(tape, each)->data;
    b->r = tape_tensor(tape, each)->data;
    b->tail = tail_new(tape, tail, &x->shape);
    Entry entry = {.in = {x, gamma, beta, b->tail->tail.addend}, .out = b->tail->out, .saved = b};
    ArenaMark mark = arena_mark(tape->arena);
    parallel_for(channels, forward_channel,
                 &(Forward){&entry, spec, worker_planes(tape->arena, b)});
    arena_rewind(tape->arena, mark);
    tape_record(tape, &batchnorm_op, entry.out, 4, entry.in, b);
    return entry.out;
}

Tensor *op_batchnorm(Tape *tape, Tensor *x, Tensor *gamma, Tensor *beta,
                     const BatchNormSpec *spec) {
    return op_batchnorm_tail(tape, x, gamma, beta, spec, NULL);
}

typedef struct Backward {
    const Entry *entry;
    float *planes; /* [workers][P] */
} Backward;

/* dx = or += scale (dy - shift - slope (x - mean)); dx may be dy. */
VECTOR static void row_gradient(const float *x, const float *dy, int count, float mean, float scale,
                                float shift, float slope, bool store, float *dx) {
    if (store)
        for (int i = 0; i < count; i++) dx[i] = scale * (dy[i] - shift - slope * (x[i] - mean));
    else
        for (int i = 0; i < count; i++) dx[i] += scale * (dy[i] - shift - slope * (x[i] - mean));
}

/* dbeta = sum dy and dgamma = sum dy h. In evaluation mean and r are constants: dx = gamma r dy.
 * In training x[i] also moves mean, by 1/M, and var, by 2 (x[i] - mean) / M, with dr/dvar = -r^3/2:
 *   dh[j]/dx[i] = r ([i = j] - 1/M - h[i] h[j] / M)
 * and the sum over j of gamma dy[j] dh[j]/dx[i] is
 *   dx[i] = gamma r (dy[i] - dbeta / M - h[i] dgamma / M) */
static void backward_channel(void *context, int c, int worker) {
    const Backward *back = context;
    const Entry *entry = back->entry;
    const BatchNorm *b = entry->saved;
    Tensor *x = entry->in[0], *gamma = entry->in[1], *beta = entry->in[2];
    bool fresh = entry->fresh & 1;
    bool keep = fresh && b->tail->tail.pool; /* dy, in the place of dx, from one loop to the next */
    float *plane = back->planes + (size_t)worker * (size_t)b->row;
    float mean = b->mean[c], r = b->r[c];
    double sum = 0, dot = 0; /* of dy; of dy (x - mean) */
    for (int n = 0; n < b->batch; n++) {
        size_t row = row_begin(b, n, c), index = (size_t)n * (size_t)b->channels + (size_t)c;
        const float *dy = tail_gradient(b->tail, index, keep ? x->grad + row : plane);
        tail_addend_gradient(b->tail, index, dy, entry->fresh >> ADDEND & 1);
        sum += row_sum(dy, (size_t)b->row);
        dot += row_dot(dy, 0, x->data + row, mean, (size_t)b->row);
    }
    if (gamma->needs_grad) gamma->grad[c] += (float)(dot * (double)r);
    if (beta->needs_grad) beta->grad[c] += (float)sum;
    if (!x->needs_grad) return;
    double count = (double)b->batch * b->row;
    float scale = gamma->data[c] * r;
    float shift = b->training ? (float)(sum / count) : 0;
    float slope = b->training ? (float)(dot * (double)r * (double)r / count) : 0;
    for (int n = 0; n < b->batch; n++) {
        size_t row = row_begin(b, n, c), index = (size_t)n * (size_t)b->channels + (size_t)c;
        float *dx = x->grad + row;
        const float *dy = keep ? dx : tail_gradient(b->tail, index, plane);
        row_gradient(x->data + row, dy, b->row, mean, scale, shift, slope, fresh, dx);
    }
}

static void backward(const Entry *entry) {
    Arena *arena = entry->tape->arena;
    ArenaMark mark = arena_mark(arena);
    parallel_for(entry->in[1]->shape.dim[0], backward_channel,
                 &(Backward){entry, worker_planes(arena, entry->saved)});
    arena_rewind(arena, mark);
}

/* Values v that a step of gradcheck keeps in their order and on their side of 0: x and the addend
 * are v / 2 each, and nothing is normalised. */
static void avoid_kinks(Arena *arena, Rng *rng, const BatchNormSpec *spec, Sample *s) {
    const float distance = 0.25f;
    Tensor *x = s->in[0], *addend = s->in[ADDEND];
    uint32_t *order = arena_alloc(arena, size_mul(x->count, sizeof *order));
    rng_permutation(rng, order, (uint32_t)x->count);
    for (size_t i = 0; i < x->count; i++)
        x->data[i] = addend->data[i] =
            distance / 2 * ((float)order[i] - 0.5f * (float)(x->count - 1));
    for (int c = 0; c < x->shape.dim[1]; c++) {
        spec->mean[c] = s->in[2]->data[c] = 0;
        spec->var[c] = s->in[1]->data[c] = 1;
    }
}

typedef struct Trial {
    BatchNormSpec spec;
    Tail tail;
} Trial;

/* Ranks 2 to 5, training; then evaluation; then tails. */
static void sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    static const Window pool = {{1, 2, 2}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}};
    static const struct {
        Shape x;
        bool training, addend, relu, pool;
    } trials[] = {
        {{2, {9, 2}}, 1, 0, 0, 0},       {{3, {3, 2, 5}}, 1, 0, 0, 0},
        {{4, {2, 3, 3, 3}}, 1, 0, 0, 0}, {{5, {2, 2, 2, 2, 3}}, 1, 0, 0, 0},
        {{4, {2, 3, 2, 2}}, 0, 0, 0, 0}, {{4, {2, 3, 2, 3}}, 1, 1, 0, 0},
        {{4, {2, 2, 5, 4}}, 0, 1, 1, 1},
    };
    int channels = trials[trial].x.dim[1];
    Tensor *mean = sample_leaf(arena, rng, SHAPE(channels), 1);
    Tensor *var = sample_leaf(arena, rng, SHAPE(channels), 1);
    for (int c = 0; c < channels; c++) var->data[c] = 0.5f + fabsf(var->data[c]);
    Trial *spec = arena_zeros(arena, sizeof *spec);
    spec->spec = (BatchNormSpec){mean->data, var->data, 0.1f, 1e-5f, trials[trial].training};
    spec->tail.relu = trials[trial].relu;
    spec->tail.pool = trials[trial].pool ? &pool : NULL;
    *s = (Sample){3, {sample_leaf(arena, rng, trials[trial].x, 1)}, spec};
    for (int k = 1; k < 3; k++) s->in[k] = sample_leaf(arena, rng, SHAPE(channels), 1);
    if (trials[trial].addend) s->in[s->inputs++] = sample_leaf(arena, rng, trials[trial].x, 1);
    if (trials[trial].relu) avoid_kinks(arena, rng, &spec->spec, s);
}

static Tensor *run(Tape *tape, const Sample *s) {
    const Trial *spec = s->spec;
    Tail tail = spec->tail;
    tail.addend = s->in[ADDEND];
    return op_batchnorm_tail(tape, s->in[0], s->in[1], s->in[2], &spec->spec, &tail);
}

const Op batchnorm_op = {
    .name = "batchnorm",
    .backward = backward,
    .fills = 1 | 1 << ADDEND,
    .samples = 7,
    .sample = sample,
    .forward = run,
};
