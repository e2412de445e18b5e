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
#include "autograd/op.h"
#include "autograd/ops.h"

extern const Op batchnorm_op;

typedef struct BatchNorm {
    int batch, channels, row; /* N C P: a channel is N contiguous rows of P floats */
    bool training;
    float *mean, *r; /* [C] as used by forward */
} BatchNorm;

typedef struct Forward {
    const Entry *entry;
    const BatchNormSpec *spec;
} Forward;

enum { LANES = 16 }; /* independent sums: what lets the compiler use vectors without reordering */

static double lanes_sum(const float lane[LANES]) {
    double sum = 0;
    for (int k = 0; k < LANES; k++) sum += (double)lane[k];
    return sum;
}

/* sum of x[i] */
static double row_sum(const float *x, int n) {
    float lane[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) lane[k] += x[i + k];
    for (int k = 0; i + k < n; k++) lane[k] += x[i + k];
    return lanes_sum(lane);
}

/* sum of (a[i] - a_mean) (x[i] - mean) */
static double row_dot(const float *a, float a_mean, const float *x, float mean, int n) {
    float lane[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) lane[k] += (a[i + k] - a_mean) * (x[i + k] - mean);
    for (int k = 0; i + k < n; k++) lane[k] += (a[i + k] - a_mean) * (x[i + k] - mean);
    return lanes_sum(lane);
}

/* Where row n of channel c begins. */
static size_t row_begin(const BatchNorm *b, int n, int c) {
    return ((size_t)n * (size_t)b->channels + (size_t)c) * (size_t)b->row;
}

/* Mean first, then the squares around it: E[x^2] - mean^2 would cancel. */
static void batch_statistics(const BatchNorm *b, const float *x, const BatchNormSpec *spec, int c,
                             float *mean, float *var) {
    double count = (double)b->batch * b->row, sum = 0, squares = 0;
    for (int n = 0; n < b->batch; n++) sum += row_sum(x + row_begin(b, n, c), b->row);
    *mean = (float)(sum / count);
    for (int n = 0; n < b->batch; n++) {
        const float *row = x + row_begin(b, n, c);
        squares += row_dot(row, *mean, row, *mean, b->row);
    }
    *var = (float)(squares / count);
    /* the running statistics; a single element has no unbiased variance */
    float unbiased = count > 1 ? (float)(squares / (count - 1)) : *var, m = spec->momentum;
    spec->mean[c] = (1 - m) * spec->mean[c] + m * *mean;
    spec->var[c] = (1 - m) * spec->var[c] + m * unbiased;
}

static void forward_channel(void *context, int c, int worker) {
    (void)worker;
    const Forward *f = context;
    const BatchNorm *b = f->entry->saved;
    const float *x = f->entry->in[0]->data;
    float *y = f->entry->out->data, mean = f->spec->mean[c], var = f->spec->var[c];
    if (b->training) batch_statistics(b, x, f->spec, c, &mean, &var);
    b->mean[c] = mean;
    b->r[c] = 1 / sqrtf(var + f->spec->eps);
    float scale = f->entry->in[1]->data[c] * b->r[c], beta = f->entry->in[2]->data[c];
    for (int n = 0; n < b->batch; n++) {
        const float *px = x + row_begin(b, n, c);
        float *py = y + row_begin(b, n, c);
        for (int i = 0; i < b->row; i++) py[i] = scale * (px[i] - mean) + beta;
    }
}

Tensor *op_batchnorm(Tape *tape, Tensor *x, Tensor *gamma, Tensor *beta,
                     const BatchNormSpec *spec) {
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
    Entry entry = {.in = {x, gamma, beta}, .out = tape_tensor(tape, x->shape), .saved = b};
    parallel_for(channels, forward_channel, &(Forward){&entry, spec});
    tape_record(tape, &batchnorm_op, entry.out, 3, entry.in, b);
    return entry.out;
}

/* dbeta = sum dy and dgamma = sum dy h. In evaluation mean and r are constants: dx = gamma r dy.
 * In training x[i] also moves mean, by 1/M, and var, by 2 (x[i] - mean) / M, with dr/dvar = -r^3/2:
 *   dh[j]/dx[i] = r ([i = j] - 1/M - h[i] h[j] / M)
 * and the sum over j of gamma dy[j] dh[j]/dx[i] is
 *   dx[i] = gamma r (dy[i] - dbeta / M - h[i] dgamma / M) */
static void backward_channel(void *context, int c, int worker) {
    (void)worker;
    const Entry *entry = *(const Entry **)context;
    const BatchNorm *b = entry->saved;
    Tensor *x = entry->in[0], *gamma = entry->in[1], *beta = entry->in[2];
    const float *dy = entry->out->grad;
    float mean = b->mean[c], r = b->r[c];
    double sum = 0, dot = 0; /* of dy; of dy (x - mean) */
    for (int n = 0; n < b->batch; n++) {
        size_t row = row_begin(b, n, c);
        sum += row_sum(dy + row, b->row);
        dot += row_dot(dy + row, 0, x->data + row, mean, b->row);
    }
    if (gamma->needs_grad) gamma->grad[c] += (float)(dot * (double)r);
    if (beta->needs_grad) beta->grad[c] += (float)sum;
    if (!x->needs_grad) return;
    double count = (double)b->batch * b->row;
    float scale = gamma->data[c] * r;
    float shift = b->training ? (float)(sum / count) : 0;
    float slope = b->training ? (float)(dot * (double)r * (double)r / count) : 0;
    for (int n = 0; n < b->batch; n++) {
        size_t row = row_begin(b, n, c);
        const float *px = x->data + row, *pdy = dy + row;
        float *pdx = x->grad + row;
        for (int i = 0; i < b->row; i++)
            pdx[i] += scale * (pdy[i] - shift - slope * (px[i] - mean));
    }
}

static void backward(const Entry *entry) {
    parallel_for(entry->in[1]->shape.dim[0], backward_channel, &entry);
}

/* Ranks 2 to 5, training; then evaluation. */
static void sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    static const Shape shapes[] = {
        {2, {9, 2}}, {3, {3, 2, 5}}, {4, {2, 3, 3, 3}}, {5, {2, 2, 2, 2, 3}}, {4, {2, 3, 2, 2}}};
    int channels = shapes[trial].dim[1];
    Tensor *mean = sample_leaf(arena, rng, SHAPE(channels), 1);
    Tensor *var = sample_leaf(arena, rng, SHAPE(channels), 1);
    for (int c = 0; c < channels; c++) var->data[c] = 0.5f + fabsf(var->data[c]);
    BatchNormSpec *spec = arena_alloc(arena, sizeof *spec);
    *spec = (BatchNormSpec){mean->data, var->data, 0.1f, 1e-5f, trial < 4};
    *s = (Sample){3, {sample_leaf(arena, rng, shapes[trial], 1)}, spec};
    for (int k = 1; k < 3; k++) s->in[k] = sample_leaf(arena, rng, SHAPE(channels), 1);
}

static Tensor *run(Tape *tape, const Sample *s) {
    return op_batchnorm(tape, s->in[0], s->in[1], s->in[2], s->spec);
}

const Op batchnorm_op = {"batchnorm", backward, .samples = 5, .sample = sample, .forward = run};
