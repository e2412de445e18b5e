/* y = x under another shape. The elements are shared, not copied: no op writes to its input. The
 * gradients are two arrays, because x may have other readers. */
#include "autograd/error.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/vector.h"
#include "autograd/op.h"
#include "autograd/ops.h"

extern const Op reshape_op;

Tensor *op_reshape(Tape *tape, Tensor *x, Shape shape) {
    CHECK(shape_count(&shape) == x->count, "reshape: %s to %s",
          shape_text(&x->shape, (char[SHAPE_TEXT]){0}), shape_text(&shape, (char[SHAPE_TEXT]){0}));
    Tensor *y = arena_alloc(tape->arena, sizeof *y);
    *y = (Tensor){.shape = shape, .count = x->count, .data = x->data};
    tape_record(tape, &reshape_op, y, 1, &x, NULL);
    return y;
}

/* y[i] = x[i]: the gradient passes as it is. */
VECTOR static void backward_range(const void *context, size_t begin, size_t end) {
    const Entry *entry = context;
    const float *dy = entry->out->grad;
    float *dx = entry->in[0]->grad;
    for (size_t i = begin; i < end; i++) dx[i] += dy[i];
}

static void backward(const Entry *entry) {
    elementwise(entry->out->count, backward_range, entry);
}

static void sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    (void)trial;
    static const Shape flat = {.rank = 2, .dim = {2, 12}};
    *s = (Sample){1, {sample_leaf(arena, rng, SHAPE(2, 3, 2, 2), 1)}, &flat};
}

static Tensor *run(Tape *tape, const Sample *s) {
    return op_reshape(tape, s->in[0], *(const Shape *)s->spec);
}

const Op reshape_op = {"reshape", backward, .samples = 1, .sample = sample, .forward = run};
