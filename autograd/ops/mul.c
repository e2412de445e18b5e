/* y = a b, element by element. */
#include "autograd/error.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/vector.h"
#include "autograd/op.h"
#include "autograd/ops.h"

extern const Op mul_op;

VECTOR static void forward(const void *context, size_t begin, size_t end) {
    const Entry *entry = context;
    const float *a = entry->in[0]->data, *b = entry->in[1]->data;
    float *y = entry->out->data;
    for (size_t i = begin; i < end; i++) y[i] = a[i] * b[i];
}

Tensor *op_mul(Tape *tape, Tensor *a, Tensor *b) {
    CHECK(shape_equal(&a->shape, &b->shape), "mul: a %s, b %s",
          shape_text(&a->shape, (char[SHAPE_TEXT]){0}),
          shape_text(&b->shape, (char[SHAPE_TEXT]){0}));
    Entry entry = {.in = {a, b}, .out = tape_tensor(tape, a->shape)};
    elementwise(a->count, forward, &entry);
    tape_record(tape, &mul_op, entry.out, 2, entry.in, NULL);
    return entry.out;
}

/* dy/da = b and dy/db = a: each input receives the output's gradient times the other input. For a b
 * = a the two parts add up to 2 a. */
VECTOR static void backward_range(const void *context, size_t begin, size_t end) {
    const Entry *entry = context;
    const float *dy = entry->out->grad;
    for (int k = 0; k < 2; k++) {
        if (!entry->in[k]->needs_grad) continue;
        const float *other = entry->in[1 - k]->data;
        float *dx = entry->in[k]->grad;
        for (size_t i = begin; i < end; i++) dx[i] += dy[i] * other[i];
    }
}

static void backward(const Entry *entry) {
    elementwise(entry->out->count, backward_range, entry);
}

/* Trial 0: two tensors; trial 1: a tensor and itself. */
static void sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    s->inputs = 2;
    s->in[0] = sample_leaf(arena, rng, SHAPE(2, 3, 2), 1);
    s->in[1] = trial == 0 ? sample_leaf(arena, rng, SHAPE(2, 3, 2), 1) : s->in[0];
}

static Tensor *run(Tape *tape, const Sample *s) {
    return op_mul(tape, s->in[0], s->in[1]);
}

const Op mul_op = {"mul", backward, .samples = 2, .sample = sample, .forward = run};
