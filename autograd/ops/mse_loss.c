/* The mean squared error: loss = 1/count sum over i of (x[i] - target[i])^2. */
#include "autograd/error.h"
#include "autograd/kernels/elementwise.h"
#include "autograd/op.h"
#include "autograd/ops.h"

extern const Op mse_loss_op;

Tensor *op_mse_loss(Tape *tape, Tensor *x, Tensor *target) {
    CHECK(shape_equal(&x->shape, &target->shape) && x->count > 0, "mse_loss: x %s, target %s",
          shape_text(&x->shape, (char[SHAPE_TEXT]){0}),
          shape_text(&target->shape, (char[SHAPE_TEXT]){0}));
    double sum = 0;
    for (size_t i = 0; i < x->count; i++) {
        double d = (double)x->data[i] - (double)target->data[i];
        sum += d * d;
    }
    Tensor *loss = tape_tensor(tape, (Shape){0});
    loss->data[0] = (float)(sum / (double)x->count);
    tape_record(tape, &mse_loss_op, loss, 2, (Tensor *[]){x, target}, NULL);
    return loss;
}

/* d loss / dx = 2 (x - target) / count, and the opposite for the target. */
static void backward_range(const void *context, size_t begin, size_t end) {
    const Entry *entry = context;
    const Tensor *x = entry->in[0], *target = entry->in[1];
    float scale = 2 * entry->out->grad[0] / (float)x->count;
    for (size_t i = begin; i < end; i++) {
        float d = scale * (x->data[i] - target->data[i]);
        if (x->needs_grad) x->grad[i] += d;
        if (target->needs_grad) target->grad[i] -= d;
    }
}

static void backward(const Entry *entry) {
    elementwise(entry->in[0]->count, backward_range, entry);
}

static void sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    (void)trial;
    s->inputs = 2;
    for (int k = 0; k < 2; k++) s->in[k] = sample_leaf(arena, rng, SHAPE(3, 4), 1);
}

static Tensor *run(Tape *tape, const Sample *s) {
    return op_mse_loss(tape, s->in[0], s->in[1]);
}

const Op mse_loss_op = {"mse_loss", backward, .samples = 1, .sample = sample, .forward = run};
