/* y = max(x, 0). NaN stays NaN, so that a diverged net does not look like one that is merely
 * silent. */
#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/vector.h"
#include "autograd/op.h"
#include "autograd/ops.h"

extern const Op relu_op;

VECTOR static void forward(const void *context, size_t begin, size_t end) {
    const Entry *entry = context;
    const float *x = entry->in[0]->data;
    float *y = entry->out->data;
    for (size_t i = begin; i < end; i++) y[i] = x[i] <= 0 ? 0 : x[i]; /* false for NaN */
}

Tensor *op_relu(Tape *tape, Tensor *x) {
    Entry entry = {.in = {x}, .out = tape_tensor(tape, x->shape)};
    elementwise(x->count, forward, &entry);
    tape_record(tape, &relu_op, entry.out, 1, entry.in, NULL);
    return entry.out;
}

/* dy/dx is 1 where x passed and 0 where it was cut, the kink at 0 included. */
VECTOR static void backward_range(const void *context, size_t begin, size_t end) {
    const Entry *entry = context;
    const float *x = entry->in[0]->data, *dy = entry->out->grad;
    float *dx = entry->in[0]->grad;
    bool fresh = entry->fresh;
    for (size_t i = begin; i < end; i++) {
        float pass = dy[i]; /* loaded either way: a selection, no branch */
        pass = x[i] <= 0 ? 0 : pass;
        dx[i] = fresh ? pass : dx[i] + pass;
    }
}

static void backward(const Entry *entry) {
    elementwise(entry->out->count, backward_range, entry);
}

/* Values of both signs, at least 0.1 from the kink. */
static void sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    (void)trial;
    s->inputs = 1;
    s->in[0] = sample_leaf(arena, rng, SHAPE(3, 2, 5), 1);
    for (size_t i = 0; i < s->in[0]->count; i++)
        s->in[0]->data[i] += s->in[0]->data[i] < 0 ? -0.1f : 0.1f;
}

static Tensor *run(Tape *tape, const Sample *s) {
    return op_relu(tape, s->in[0]);
}

const Op relu_op = {"relu", backward, .fills = 1, .samples = 1, .sample = sample, .forward = run};
