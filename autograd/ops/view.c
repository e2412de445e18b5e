/* y = the elements of each sample of x that a view names (autograd/view.h), line by line along the
 * view's last dimension. */
#include "autograd/error.h"
#include "autograd/kernels/parallel.h"
#include "autograd/op.h"
#include "autograd/ops.h"

extern const Op view_op;

/* Sizes of one sample: elements of x and of y, and of a line of y. */
typedef struct Sizes {
    size_t from, to, line;
} Sizes;

static Sizes sizes_of(const Entry *entry, const View *view) {
    size_t samples = (size_t)entry->out->shape.dim[0];
    return (Sizes){entry->in[0]->count / samples, entry->out->count / samples,
                   (size_t)view->shape.dim[view->shape.rank - 1]};
}

static void forward_chunk(void *context, int i, int worker) {
    (void)worker;
    const Entry *entry = context;
    const View *view = entry->saved;
    Sizes size = sizes_of(entry, view);
    size_t step = view->step[view->shape.rank - 1];
    for (int n = chunk_begin(i); n < chunk_end(i, entry->out->shape.dim[0]); n++)
        for (size_t begin = 0; begin < size.to; begin += size.line) {
            const float *x = entry->in[0]->data + (size_t)n * size.from + view_at(view, begin);
            float *y = entry->out->data + (size_t)n * size.to + begin;
            for (size_t k = 0; k < size.line; k++) y[k] = x[k * step];
        }
}

/* The last element that is looked at, which is the farthest: steps do not go back. */
static size_t farthest(const View *view) {
    return view_at(view, shape_count(&view->shape) - 1);
}

Tensor *op_view(Tape *tape, Tensor *x, const View *view) {
    char text[SHAPE_TEXT];
    CHECK(x->shape.rank >= 2 && view->shape.rank >= 1 && shape_count(&view->shape) > 0,
          "view: %s of %d dimensions", shape_text(&x->shape, text), view->shape.rank);
    size_t samples = (size_t)x->shape.dim[0];
    CHECK(farthest(view) < x->count / samples, "view: element %zu of %s", farthest(view),
          shape_text(&x->shape, text));
    View *kept = arena_alloc(tape->arena, sizeof *kept);
    *kept = *view;
    Tensor *y = tape_tensor(tape, shape_batched(&view->shape, (int)samples));
    Entry entry = {.inputs = 1, .in = {x}, .out = y, .saved = kept};
    parallel_for(chunk_count((int)samples), forward_chunk, &entry);
    tape_record(tape, &view_op, y, 1, &x, kept);
    return y;
}

/* Each element that was looked at gets the gradient of the place it went to. */
static void backward_chunk(void *context, int i, int worker) {
    (void)worker;
    const Entry *entry = *(const Entry **)context;
    const View *view = entry->saved;
    Sizes size = sizes_of(entry, view);
    size_t step = view->step[view->shape.rank - 1];
    for (int n = chunk_begin(i); n < chunk_end(i, entry->out->shape.dim[0]); n++)
        for (size_t begin = 0; begin < size.to; begin += size.line) {
            float *dx = entry->in[0]->grad + (size_t)n * size.from + view_at(view, begin);
            const float *dy = entry->out->grad + (size_t)n * size.to + begin;
            for (size_t k = 0; k < size.line; k++) dx[k * step] += dy[k];
        }
}

static void backward(const Entry *entry) {
    parallel_for(chunk_count(entry->out->shape.dim[0]), backward_chunk, &entry);
}

/* Trial 0: [2,3,4] with its dimensions turned round; trial 1: every other line, but the first
 * element of each; trial 2: several chunks. */
static void sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    static const View views[] = {
        {{3, {4, 3, 2}}, 0, {1, 4, 12}}, {{3, {2, 2, 3}}, 1, {12, 8, 1}}, {{2, {2, 1}}, 1, {2, 1}}};
    Shape shape = trial < 2 ? SHAPE(2, 2, 3, 4) : SHAPE(CHUNK + 1, 2, 2);
    *s = (Sample){1, {sample_leaf(arena, rng, shape, 1)}, &views[trial]};
}

static Tensor *run(Tape *tape, const Sample *s) {
    return op_view(tape, s->in[0], s->spec);
}

const Op view_op = {"view", backward, .samples = 3, .sample = sample, .forward = run};
