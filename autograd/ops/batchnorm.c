/* Batch normalisation (Ioffe, Szegedy 2015): for each channel of x[N,C,P], over its M = N P
 * elements,
 *
 *   y = gamma h + beta,   h = r (x - mean),   r = 1 / sqrt(var + eps)
 *
 * Training takes mean and (biased) var of the batch and moves the running statistics, with the
 * unbiased variance; evaluation takes the running ones. Sums are taken of each plane, while it is
 * in the cache, and then of a channel's planes in the order of the samples.
 *
 * In every channel y is a monotone function of x, rounding included, so that a max-pool behind it
 * may come first: the largest y of a window is that of the largest x, or of the smallest where
 * gamma is negative. These few are all that need be mapped, and summed on the way back.
 *
 * Of x / s, which is never computed, mean and var are those of x divided by s and s^2: y is as
 * above, with r = 1 / (s sqrt(var / s^2 + eps)). */
#include <math.h>
#include <string.h>

#include "autograd/error.h"
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/sums.h"
#include "autograd/op.h"
#include "autograd/ops.h"
#include "autograd/ops/batchnorm.h"
#include "autograd/tail.h"

extern const Op batchnorm_op;

typedef struct BatchNorm {
    int batch, channels, plane; /* N C P */
    bool training;
    float eps;
    float *mean, *r, *scale; /* [C] as used by forward: scale is gamma r */
    TailWork *tail;
    bool pooled, cut;   /* the tail's pool comes first; its relu is part of the map */
    bool later;         /* so that y is never stored: its reader maps x again */
    const float *value; /* [N C][row] what is mapped: x, or what the pool chose */
    float *chosen;
    size_t row;
} BatchNorm;

typedef struct Forward {
    const Entry *entry;
    const BatchNormSpec *spec;
    double *moments; /* [N C][2] */
    float *planes;   /* [workers][P] */
} Forward;

static void each_plane(const BatchNorm *b, PlaneBody *body, void *context) {
    parallel_planes(b->batch, b->channels, body, context);
}

static const float *plane_of(const Entry *entry, size_t p) {
    const BatchNorm *b = entry->saved;
    return entry->in[0]->data + p * (size_t)b->plane;
}

static void measure_plane(void *context, size_t p, int worker) {
    (void)worker;
    const Forward *f = context;
    const BatchNorm *b = f->entry->saved;
    row_moments(plane_of(f->entry, p), (size_t)b->plane, f->moments + 2 * p);
}

/* Mean first, then the squares around it: E[x^2] - mean^2 would cancel. */
static void batch_statistics(const BatchNorm *b, const double *moments, const BatchNormSpec *spec,
                             int c, float s, float *mean, float *var) {
    double count = (double)b->batch * b->plane, sum = 0, squares = 0;
    size_t step = (size_t)b->channels, planes = (size_t)b->batch * step;
    for (size_t p = (size_t)c; p < planes; p += step) sum += moments[2 * p];
    *mean = (float)(sum / count);
    for (size_t p = (size_t)c; p < planes; p += step)
        squares += moments_around(moments + 2 * p, (size_t)b->plane, *mean);
    *var = (float)(squares / count);
    /* the running statistics; a single element has no unbiased variance */
    float unbiased = count > 1 ? (float)(squares / (count - 1)) : *var, m = spec->momentum;
    spec->mean[c] = (1 - m) * spec->mean[c] + m * (*mean / s);
    spec->var[c] = (1 - m) * spec->var[c] + m * (unbiased / (s * s));
}

static void prepare_channel(void *context, int c, int worker) {
    (void)worker;
    const Forward *f = context;
    const BatchNorm *b = f->entry->saved;
    const Tensor *x = f->entry->in[0], *divisor = f->entry->in[DIVISOR];
    float mean = f->spec->mean[c], var = f->spec->var[c], s = divisor ? divisor->data[c] : 1;
    if (b->training)
        batch_statistics(b, x->moments ? x->moments : f->moments, f->spec, c, s, &mean, &var);
    b->mean[c] = mean;
    b->r[c] = 1 / (s * sqrtf(var / (s * s) + b->eps));
    b->scale[c] = f->entry->in[1]->data[c] * b->r[c];
}

static RowMap map_of(const Entry *entry, size_t c) {
    const BatchNorm *b = entry->saved;
    return (RowMap){b->mean[c], b->scale[c], entry->in[2]->data[c], b->cut};
}

/* Of y, without what a tail does behind the map; context: the entry. */
static void map_plane(const void *context, size_t p, float *y) {
    const Entry *entry = context;
    const BatchNorm *b = entry->saved;
    RowMap map = map_of(entry, p % (size_t)b->channels);
    row_map(&map, plane_of(entry, p), b->row, y);
}

static void normalize_plane(void *context, size_t p, int worker) {
    const Forward *f = context;
    const BatchNorm *b = f->entry->saved;
    float *y = tail_target(b->tail, p, f->planes + (size_t)worker * b->row);
    map_plane(f->entry, p, y);
    if (!b->cut) tail_run(b->tail, p, y);
}

static void pool_plane(void *context, size_t p, int worker) {
    (void)worker;
    const Forward *f = context;
    const BatchNorm *b = f->entry->saved;
    size_t at = p * b->row;
    float *chosen = b->chosen + at, *y = b->tail->out->data + at;
    Winner *winner = b->tail->winner + at;
    RowMap map = map_of(f->entry, p % (size_t)b->channels);
    maxpool_plane(&b->tail->patches, plane_of(f->entry, p), map.scale < 0 ? -1 : 1, chosen, winner);
    row_map(&map, chosen, b->row, y);
    if (b->cut) maxpool_cut(y, b->row, winner);
}

/* By planes, then by channels, then by planes again; x->moments saves the first. */
static void forward(Arena *arena, Forward f) {
    const BatchNorm *b = f.entry->saved;
    if (b->training && !f.entry->in[0]->moments) {
        size_t planes = size_mul((size_t)b->batch, (size_t)b->channels);
        f.moments = arena_alloc(arena, size_mul(planes, 2 * sizeof *f.moments));
        each_plane(b, measure_plane, &f);
    }
    parallel_for(b->channels, prepare_channel, &f);
    if (!b->later) each_plane(b, b->pooled ? pool_plane : normalize_plane, &f);
}

static float *worker_planes(Arena *arena, const BatchNorm *b) {
    size_t floats = size_mul((size_t)b->plane, (size_t)parallel_threads());
    return arena_alloc(arena, size_mul(floats, sizeof(float)));
}

static void add_tail(Tape *tape, BatchNorm *b, const Tensor *x, const Tail *tail) {
    b->tail = tail_new(tape, tail, &x->shape);
    b->pooled = tail_pools_first(b->tail) && !tail->addend;
    b->cut = b->pooled ? tail->relu : tail_relu_alone(&b->tail->tail);
    b->row = b->pooled ? b->tail->out_plane : b->tail->plane;
    if (b->pooled) b->chosen = tape_tensor(tape, b->tail->out->shape)->data;
    b->value = b->pooled ? b->chosen : x->data;
    b->later = tail && tail->later && (b->cut || tail_empty(tail)) && !b->pooled;
}

/* The entry itself moves when the tape grows. */
static void defer_values(Tape *tape, const Entry *entry) {
    Entry *copy = arena_alloc(tape->arena, sizeof *copy);
    Deferred *values = arena_alloc(tape->arena, sizeof *values);
    *copy = *entry;
    *values = (Deferred){map_plane, copy};
    entry->out->values = values;
    entry->out->data = NULL;
}

static Tensor *batchnorm(Tape *tape, Tensor *const in[INPUTS], const BatchNormSpec *spec,
                         const Tail *tail) {
    Tensor *x = in[0];
    CHECK(x->shape.rank >= 2 && x->shape.rank <= 5 && x->count > 0, "batchnorm: x %s",
          shape_text(&x->shape, (char[SHAPE_TEXT]){0}));
    int batch = x->shape.dim[0], channels = x->shape.dim[1];
    Shape each = SHAPE(channels);
    for (int k = 1; k < INPUTS; k++)
        CHECK(k == ADDEND || !in[k] || shape_equal(&in[k]->shape, &each),
              "batchnorm: %d channels, input %d: %s", channels, k,
              shape_text(&in[k]->shape, (char[SHAPE_TEXT]){0}));
    BatchNorm *b = arena_alloc(tape->arena, sizeof *b);
    *b = (BatchNorm){
        .batch = batch, .channels = channels, .training = spec->training, .eps = spec->eps};
    b->plane = (int)(x->count / (size_t)batch / (size_t)channels);
    b->mean = tape_tensor(tape, each)->data;
    b->r = tape_tensor(tape, each)->data;
    b->scale = tape_tensor(tape, each)->data;
    add_tail(tape, b, x, tail);
    Entry entry = {.out = b->tail->out, .saved = b};
    memcpy(entry.in, in, sizeof *in * INPUTS);
    entry.out->defers = tail_empty(&b->tail->tail);
    ArenaMark mark = arena_mark(tape->arena);
    forward(tape->arena,
            (Forward){.entry = &entry, .spec = spec, .planes = worker_planes(tape->arena, b)});
    arena_rewind(tape->arena, mark);
    if (b->later) defer_values(tape, &entry);
    tape_record(tape, &batchnorm_op, entry.out, INPUTS, entry.in, b);
    return entry.out;
}

Tensor *op_batchnorm_tail(Tape *tape, Tensor *x, Tensor *gamma, Tensor *beta,
                          const BatchNormSpec *spec, const Tail *tail) {
    return batchnorm(tape, (Tensor *[INPUTS]){x, gamma, beta, tail ? tail->addend : NULL}, spec,
                     tail);
}

Tensor *op_batchnorm(Tape *tape, Tensor *x, Tensor *gamma, Tensor *beta,
                     const BatchNormSpec *spec) {
    return op_batchnorm_tail(tape, x, gamma, beta, spec, NULL);
}

Tensor *op_batchnorm_divided(Tape *tape, Tensor *x, Tensor *s, Tensor *gamma, Tensor *beta,
                             const BatchNormSpec *spec) {
    CHECK(spec->training, "batchnorm of x / s in evaluation");
    return batchnorm(tape, (Tensor *[INPUTS]){x, gamma, beta, NULL, s}, spec, NULL);
}

typedef struct Backward {
    const Entry *entry;
    double *sums;         /* [N C][2] of each plane: of dy; of dy (x - mean) */
    float *shift, *slope; /* [C] */
    float *planes;        /* [workers][P] */
    float *given;         /* the addend's gradient, which is all of it d loss / d y; or NULL */
    bool stays;           /* so, until dx is made */
    Deferred deferred;
} Backward;

/* dbeta = sum dy and dgamma = sum dy h. In evaluation mean and r are constants: dx = gamma r dy.
 * In training x[i] also moves mean, by 1/M, and var, by 2 (x[i] - mean) / M, with dr/dvar = -r^3/2:
 *   dh[j]/dx[i] = r ([i = j] - 1/M - h[i] h[j] / M)
 * and the sum over j of gamma dy[j] dh[j]/dx[i] is
 *   dx[i] = gamma r (dy[i] - dbeta / M - h[i] dgamma / M)
 * All of it holds for x / s as well. Of s only the part that eps has in r is left, since r^-2 = var
 * + eps s^2: dr/ds = -eps s r^3. */

/* d loss / d y of one plane of the value, or behind the relu: in plane[], or where it lies. */
static const float *result_gradient(const BatchNorm *b, size_t p, float *plane) {
    const Tensor *out = b->tail->out;
    if (b->cut || b->pooled) return out->grad + p * b->row;
    if (!out->deferred) return tail_gradient(b->tail, p, plane);
    out->deferred->plane(out->deferred->context, p, plane);
    return plane;
}

static void sum_plane(void *context, size_t p, int worker) {
    const Backward *back = context;
    const BatchNorm *b = back->entry->saved;
    size_t floats = (size_t)b->plane;
    float *plane = back->given ? back->given + p * floats : back->planes + (size_t)worker * floats;
    const float *dy = result_gradient(b, p, plane);
    if (!back->given || dy != plane) tail_addend_gradient(b->tail, p, dy, back->given);
    RowMap map = map_of(back->entry, p % (size_t)b->channels);
    row_sums(&map, b->value + p * b->row, dy, b->row, back->sums + 2 * p);
}

static void add_channel(void *context, int c, int worker) {
    (void)worker;
    const Backward *back = context;
    const BatchNorm *b = back->entry->saved;
    Tensor *gamma = back->entry->in[1], *beta = back->entry->in[2], *s = back->entry->in[DIVISOR];
    size_t channels = (size_t)b->channels, planes = (size_t)b->batch * channels;
    double count = (double)b->batch * b->plane, r = (double)b->r[c], sum = 0, dot = 0;
    for (size_t p = (size_t)c; p < planes; p += channels) {
        sum += back->sums[2 * p];
        dot += back->sums[2 * p + 1];
    }
    if (gamma->needs_grad) gamma->grad[c] += (float)(dot * r);
    if (s && s->needs_grad)
        s->grad[c] -=
            (float)((double)gamma->data[c] * (double)b->eps * (double)s->data[c] * r * r * r * dot);
    if (beta->needs_grad) beta->grad[c] += (float)sum;
    back->shift[c] = b->training ? (float)(sum / count) : 0;
    back->slope[c] = b->training ? (float)(dot * r * r / count) : 0;
}

/* dx of one plane; plane[] is for dy, and may be dx if that is stored. */
static void plane_gradient(const Backward *back, size_t p, float *plane, bool store, float *dx) {
    const BatchNorm *b = back->entry->saved;
    size_t c = p % (size_t)b->channels;
    RowMap map = map_of(back->entry, c);
    const float *dy =
        back->stays ? back->given + p * (size_t)b->plane : result_gradient(b, p, plane);
    if (b->pooled) {
        dy = tail_gradient(b->tail, p, plane);
        map.cut = false; /* what the relu cut has no winner */
    }
    row_map_gradient(&map, plane_of(back->entry, p), dy, (size_t)b->plane, back->shift[c],
                     back->slope[c], store, dx);
}

static void deferred_plane(const void *context, size_t p, float *plane) {
    plane_gradient(context, p, plane, true, plane);
}

static void add_plane(void *context, size_t p, int worker) {
    const Backward *back = context;
    size_t floats = (size_t)((const BatchNorm *)back->entry->saved)->plane;
    bool store = back->entry->fresh & 1;
    float *dx = back->entry->in[0]->grad + p * floats;
    float *plane = store ? dx : back->planes + (size_t)worker * floats;
    plane_gradient(back, p, plane, store, dx);
}

/* Was x made by the entry before? Then nothing comes between on the way back, and adds to the
 * gradient of something else. */
static bool follows(const Entry *entry, const Tensor *x) {
    return entry > entry->tape->entries && entry[-1].out == x;
}

/* The sums first; then dx, or the promise of it, whose context lasts as long as the tape. */
static void backward(const Entry *entry) {
    const BatchNorm *b = entry->saved;
    Arena *arena = entry->tape->arena;
    Tensor *x = entry->in[0];
    Backward *back = arena_zeros(arena, sizeof *back);
    *back = (Backward){.entry = entry, .deferred = {deferred_plane, back}};
    if (entry->fresh >> ADDEND & 1) back->given = entry->in[ADDEND]->grad;
    back->stays = back->given && (x->grad || follows(entry, x));
    back->shift = arena_alloc(arena, sizeof(float) * (size_t)b->channels);
    back->slope = arena_alloc(arena, sizeof(float) * (size_t)b->channels);
    ArenaMark mark = arena_mark(arena);
    size_t planes = size_mul((size_t)b->batch, (size_t)b->channels);
    back->sums = arena_alloc(arena, size_mul(planes, 2 * sizeof *back->sums));
    back->planes = worker_planes(arena, b);
    each_plane(b, sum_plane, back);
    parallel_for(b->channels, add_channel, back);
    if (x->needs_grad && x->grad) each_plane(b, add_plane, back);
    if (x->needs_grad && !x->grad) x->deferred = &back->deferred;
    arena_rewind(arena, mark);
}

const Op batchnorm_op = {
    .name = "batchnorm",
    .backward = backward,
    .fills = 1 | 1 << ADDEND,
    .defers = 1,
    .samples = BATCHNORM_TRIALS,
    .sample = batchnorm_sample,
    .forward = batchnorm_trial,
};
