/* Softmax over the channels of x[N,C,P], at each position by itself:
 *
 *   y[c] = exp(x[c] - m) / sum over k of exp(x[k] - m),   m = max x, which takes nothing away but
 * overflow */
#include "autograd/error.h"
#include "autograd/kernels/parallel.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <math.h>

extern const Op softmax_op;

static size_t positions(const Tensor *t) {
    return t->count / (size_t)t->shape.dim[0] / (size_t)t->shape.dim[1];
}

/* One position: `channels` elements, `step` apart. */
static void normalize(int channels, size_t step, const float *x, float *y) {
    float most = x[0];
    double sum = 0;
    for (int c = 1; c < channels; c++) most = fmaxf(most, x[(size_t)c * step]);
    for (int c = 0; c < channels; c++) {
        y[(size_t)c * step] = expf(x[(size_t)c * step] - most);
        sum += (double)y[(size_t)c * step];
    }
    for (int c = 0; c < channels; c++) y[(size_t)c * step] /= (float)sum;
}

static void forward_chunk(void *context, int i, int worker) {
    (void)worker;
    const Entry *entry = context;
    const Tensor *x = entry->in[0];
    size_t step = positions(x), sample = step * (size_t)x->shape.dim[1];
    for (int n = chunk_begin(i); n < chunk_end(i, x->shape.dim[0]); n++)
        for (size_t p = 0; p < step; p++)
            normalize(x->shape.dim[1], step, x->data + (size_t)n * sample + p,
                      entry->out->data + (size_t)n * sample + p);
}

Tensor *op_softmax(Tape *tape, Tensor *x) {
    CHECK(x->shape.rank >= 2, "softmax: %s has no channels",
          shape_text(&x->shape, (char[SHAPE_TEXT]){0}));
    Entry entry = {.in = {x}, .out = tape_tensor(tape, x->shape)};
    parallel_along(chunk_count(x->shape.dim[0]), forward_chunk, &entry);
    tape_record(tape, &softmax_op, entry.out, 1, entry.in, NULL);
    return entry.out;
}

/* dy[k]/dx[c] = y[k] ([k = c] - y[c]), so dx[c] = y[c] (dy[c] - sum over k of y[k] dy[k]). */
static void backward_chunk(void *context, int i, int worker) {
    (void)worker;
    const Entry *entry = *(const Entry **)context;
    const Tensor *y = entry->out;
    size_t step = positions(y), sample = step * (size_t)y->shape.dim[1];
    for (int n = chunk_begin(i); n < chunk_end(i, y->shape.dim[0]); n++)
        for (size_t p = 0; p < step; p++) {
            size_t first = (size_t)n * sample + p, end = first + sample - p;
            double dot = 0;
            for (size_t j = first; j < end; j += step)
                dot += (double)y->data[j] * (double)y->grad[j];
            for (size_t j = first; j < end; j += step)
                entry->in[0]->grad[j] += y->data[j] * (y->grad[j] - (float)dot);
        }
}

static void backward(const Entry *entry) {
    parallel_along(chunk_count(entry->out->shape.dim[0]), backward_chunk, &entry);
}

static void sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    static const Shape shapes[] = {{2, {CHUNK + 1, 3}}, {4, {2, 4, 2, 3}}};
    *s = (Sample){1, {sample_leaf(arena, rng, shapes[trial], 1)}, NULL};
}

static Tensor *run(Tape *tape, const Sample *s) {
    return op_softmax(tape, s->in[0]);
}

const Op softmax_op = {"softmax", backward, .samples = 2, .sample = sample, .forward = run};
