/* y = the inputs one behind the other along the channels: sample n of y is sample n of each input
 * in turn. */
#include "autograd/error.h"
#include "autograd/kernels/parallel.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <string.h>

extern const Op concat_op;

/* The shape of the result; the inputs may differ in dimension 1 alone. */
static Shape joined(int inputs, Tensor *const in[]) {
    Shape shape = in[0]->shape;
    for (int k = 1; k < inputs; k++) {
        Shape other = in[k]->shape;
        shape.dim[1] += other.dim[1];
        other.dim[1] = shape.dim[1];
        CHECK(shape_equal(&shape, &other), "concat: input %d is %s, the first %s", k,
              shape_text(&in[k]->shape, (char[SHAPE_TEXT]){0}),
              shape_text(&in[0]->shape, (char[SHAPE_TEXT]){0}));
    }
    return shape;
}

/* Where the elements of input k lie in sample n of the output, and in the input; their number. */
typedef struct Part {
    size_t out, in, count;
} Part;

static Part part(const Entry *entry, int k, int n) {
    size_t samples = (size_t)entry->out->shape.dim[0], before = 0;
    for (int j = 0; j < k; j++) before += entry->in[j]->count / samples;
    size_t count = entry->in[k]->count / samples;
    return (Part){(size_t)n * (entry->out->count / samples) + before, (size_t)n * count, count};
}

static void forward_chunk(void *context, int i, int worker) {
    (void)worker;
    const Entry *entry = context;
    for (int n = chunk_begin(i); n < chunk_end(i, entry->out->shape.dim[0]); n++)
        for (int k = 0; k < entry->inputs; k++) {
            Part p = part(entry, k, n);
            memcpy(entry->out->data + p.out, entry->in[k]->data + p.in, sizeof(float) * p.count);
        }
}

Tensor *op_concat(Tape *tape, int inputs, Tensor *const in[]) {
    CHECK(inputs >= 1 && inputs <= OP_MAX_INPUTS && in[0]->shape.rank >= 2, "concat: %d inputs",
          inputs);
    Entry entry = {.inputs = inputs, .out = tape_tensor(tape, joined(inputs, in))};
    memcpy(entry.in, in, sizeof *in * (size_t)inputs);
    parallel_along(chunk_count(entry.out->shape.dim[0]), forward_chunk, &entry);
    tape_record(tape, &concat_op, entry.out, inputs, entry.in, NULL);
    return entry.out;
}

/* Each element went to one place, and gets that place's gradient. */
static void backward_chunk(void *context, int i, int worker) {
    (void)worker;
    const Entry *entry = *(const Entry **)context;
    for (int n = chunk_begin(i); n < chunk_end(i, entry->out->shape.dim[0]); n++)
        for (int k = 0; k < entry->inputs; k++) {
            if (!entry->in[k]->needs_grad) continue;
            Part p = part(entry, k, n);
            const float *dy = entry->out->grad + p.out;
            float *dx = entry->in[k]->grad + p.in;
            for (size_t j = 0; j < p.count; j++) dx[j] += dy[j];
        }
}

static void backward(const Entry *entry) {
    parallel_along(chunk_count(entry->out->shape.dim[0]), backward_chunk, &entry);
}

/* Trial 0: images; trial 1: rows, the first and the last input the same. */
static void sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    static const Shape shapes[][3] = {{{4, {2, 1, 2, 3}}, {4, {2, 3, 2, 3}}, {4, {2, 2, 2, 3}}},
                                      {{2, {CHUNK + 1, 2}}, {2, {CHUNK + 1, 1}}}};
    *s = (Sample){.inputs = 3};
    for (int k = 0; k < 3 - trial; k++) s->in[k] = sample_leaf(arena, rng, shapes[trial][k], 1);
    if (trial == 1) s->in[2] = s->in[0];
}

static Tensor *run(Tape *tape, const Sample *s) {
    return op_concat(tape, s->inputs, s->in);
}

const Op concat_op = {"concat", backward, .samples = 2, .sample = sample, .forward = run};
