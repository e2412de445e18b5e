/* y = m x / (1 - p), where the mask m is 0 with probability p and 1 otherwise: the expected value
 * of y is x, so that evaluation, which drops nothing, needs no correction (Srivastava et al. 2014,
 * "inverted"). Element i's mask is the i-th number of its stream: backward draws it again instead
 * of keeping it. */
#include "autograd/error.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/op.h"
#include "autograd/ops.h"

extern const Op dropout_op;

typedef struct Dropout {
    Rng rng;
    uint64_t threshold; /* p 2^32: kept are the elements whose upper 32 random bits reach it */
    float scale;        /* 1 / (1 - p) */
} Dropout;

static bool kept(const Dropout *d, size_t i) {
    return rng_at(&d->rng, i) >> 32 >= d->threshold;
}

static void forward(const void *context, size_t begin, size_t end) {
    const Entry *entry = context;
    const Dropout *d = entry->saved;
    const float *x = entry->in[0]->data;
    float *y = entry->out->data;
    for (size_t i = begin; i < end; i++) y[i] = kept(d, i) ? x[i] * d->scale : 0;
}

Tensor *op_dropout(Tape *tape, Tensor *x, float p, uint64_t seed, uint64_t stream) {
    CHECK(p >= 0 && p < 1, "dropout: p %g", (double)p);
    if (p == 0) return op_reshape(tape, x, x->shape);
    Dropout *d = arena_alloc(tape->arena, sizeof *d);
    *d = (Dropout){.rng = rng_stream(seed, RNG_DROPOUT, stream),
                   .threshold = (uint64_t)((double)p * 0x1p32),
                   .scale = (float)(1 / (1 - (double)p))};
    Entry entry = {.in = {x}, .out = tape_tensor(tape, x->shape), .saved = d};
    elementwise(x->count, forward, &entry);
    tape_record(tape, &dropout_op, entry.out, 1, entry.in, d);
    return entry.out;
}

/* y[i] is linear in x[i]: dy/dx = m / (1 - p). */
static void backward_range(const void *context, size_t begin, size_t end) {
    const Entry *entry = context;
    const Dropout *d = entry->saved;
    const float *dy = entry->out->grad;
    float *dx = entry->in[0]->grad;
    for (size_t i = begin; i < end; i++) dx[i] += kept(d, i) ? dy[i] * d->scale : 0;
}

static void backward(const Entry *entry) {
    elementwise(entry->out->count, backward_range, entry);
}

static void sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    static const float p[] = {0, 0.3f, 0.8f};
    *s = (Sample){1, {sample_leaf(arena, rng, SHAPE(4, 6), 1)}, &p[trial]};
}

static Tensor *run(Tape *tape, const Sample *s) {
    return op_dropout(tape, s->in[0], *(const float *)s->spec, 7, 3);
}

const Op dropout_op = {"dropout", backward, .samples = 3, .sample = sample, .forward = run};
