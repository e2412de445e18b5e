/* Softmax cross-entropy: loss = 1/N sum over n of -log p[n][label[n]], p[n] = softmax(x[n]).
 * Computed as log(sum exp(x - max)) - (x[label] - max), which no size of x can overflow. */
#include <math.h>
#include <string.h>

#include "autograd/error.h"
#include "autograd/op.h"
#include "autograd/ops.h"

extern const Op cross_entropy_op;

typedef struct CrossEntropy {
    int *labels; /* [N] a copy: the caller's may be the next batch's by the time of backward */
    float *p;    /* [N,classes] softmax of x */
} CrossEntropy;

/* Writes softmax(x) to p; returns -log p[label]. */
static double row_loss(const float *x, int classes, int label, float *p) {
    float max = x[0];
    for (int c = 1; c < classes; c++) max = x[c] > max ? x[c] : max;
    double sum = 0;
    for (int c = 0; c < classes; c++) sum += (double)(p[c] = expf(x[c] - max));
    for (int c = 0; c < classes; c++) p[c] = (float)((double)p[c] / sum);
    return log(sum) - ((double)x[label] - (double)max);
}

Tensor *op_cross_entropy(Tape *tape, Tensor *x, const int *labels) {
    CHECK(x->shape.rank == 2 && x->count > 0, "cross_entropy: x %s",
          shape_text(&x->shape, (char[SHAPE_TEXT]){0}));
    int batch = x->shape.dim[0], classes = x->shape.dim[1];
    CrossEntropy *saved = arena_alloc(tape->arena, sizeof *saved);
    saved->labels = arena_alloc(tape->arena, sizeof *labels * (size_t)batch);
    saved->p = tape_tensor(tape, x->shape)->data;
    memcpy(saved->labels, labels, sizeof *labels * (size_t)batch);
    double loss = 0;
    for (int n = 0; n < batch; n++) {
        CHECK(labels[n] >= 0 && labels[n] < classes, "cross_entropy: label %d of %d classes",
              labels[n], classes);
        size_t row = (size_t)n * (size_t)classes;
        loss += row_loss(x->data + row, classes, labels[n], saved->p + row);
    }
    Tensor *y = tape_tensor(tape, (Shape){0});
    y->data[0] = (float)(loss / batch);
    tape_record(tape, &cross_entropy_op, y, 1, &x, saved);
    return y;
}

/* For one row, loss = log(sum_k exp x_k) - x_label, so d loss / d x_c = exp x_c / sum_k exp x_k -
 * [c = label] = p_c - [c = label]; the mean over the rows divides it by N. */
static void backward(const Entry *entry) {
    const CrossEntropy *saved = entry->saved;
    Tensor *x = entry->in[0];
    int batch = x->shape.dim[0], classes = x->shape.dim[1];
    float scale = entry->out->grad[0] / (float)batch;
    for (int n = 0; n < batch; n++) {
        const float *p = saved->p + (size_t)n * (size_t)classes;
        float *dx = x->grad + (size_t)n * (size_t)classes;
        for (int c = 0; c < classes; c++) dx[c] += scale * (p[c] - (c == saved->labels[n]));
    }
}

static void sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    (void)trial;
    static const int labels[] = {0, 4, 2, 2};
    *s = (Sample){1, {sample_leaf(arena, rng, SHAPE(4, 5), 1)}, labels};
}

static Tensor *run(Tape *tape, const Sample *s) {
    return op_cross_entropy(tape, s->in[0], s->spec);
}

const Op cross_entropy_op = {"cross_entropy", backward, .samples = 1, sample, run};
