/* Max-pool: the largest value of each window; of equal values the first, in the window's order.
 * Padding never wins; a window that meets no input gives -infinity, as in PyTorch. A NaN wins over
 * all numbers, so that a diverged net is noticed. */
#include "autograd/error.h"
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/patches.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <math.h>
#include <stdint.h>

extern const Op maxpool_op;

typedef struct MaxPool {
    Window window;
    Patches patches;
    Tensor *x, *y;   /* [N,C,...] */
    int32_t *winner; /* as y: which element of its plane of x won; -1: none */
} MaxPool;

/* Lets one kernel place compete for a row of outputs. `from` is the place of x[0] in its plane. */
static void compete(int count, int stride, const float *restrict x, int32_t from, float *restrict y,
                    int32_t *restrict winner) {
    for (int i = 0; i < count; i++) {
        float value = x[i * stride];
        bool wins = (value > y[i]) | (value != value);
        y[i] = wins ? value : y[i];
        winner[i] = wins ? from + i * stride : winner[i];
    }
}

static void pool_place(const MaxPool *pool, const Place *at, const float *x, float *y,
                       int32_t *winner) {
    int stride = pool->window.stride[2];
    for (int d = at->span[0].begin; d < at->span[0].end; d++) {
        Rows rows = place_rows(&pool->patches, at, d);
        for (int h = 0; h < rows.count; h++) {
            size_t from = rows.input + (size_t)h * rows.input_step;
            size_t to = rows.output + (size_t)h * rows.output_step;
            compete(rows.length, stride, x + from, (int32_t)from, y + to, winner + to);
        }
    }
}

static void forward_chunk(void *context, int i, int worker) {
    (void)worker;
    const MaxPool *pool = context;
    size_t channels = (size_t)pool->patches.channels;
    size_t x_plane = patches_plane(&pool->patches);
    size_t y_plane = (size_t)patches_columns(&pool->patches);
    for (int n = chunk_begin(i); n < chunk_end(i, pool->x->shape.dim[0]); n++) {
        size_t first = (size_t)n * channels, last = first + channels; /* this sample's planes */
        for (size_t j = first * y_plane; j < last * y_plane; j++) {
            pool->y->data[j] = -INFINITY;
            pool->winner[j] = -1;
        }
        for (int k = 0; k < patches_places(&pool->patches); k++) {
            Place at = patches_place(&pool->patches, k);
            for (size_t c = first; c < last; c++)
                pool_place(pool, &at, pool->x->data + c * x_plane, pool->y->data + c * y_plane,
                           pool->winner + c * y_plane);
        }
    }
}

Tensor *op_maxpool(Tape *tape, Tensor *x, const Window *window) {
    MaxPool *pool = arena_alloc(tape->arena, sizeof *pool);
    *pool = (MaxPool){.window = *window, .x = x};
    pool->y = tape_tensor(tape, window_shape(window, &x->shape, x->shape.dim[1]));
    pool->patches = patches_of(&pool->window, x->shape.dim[1], &x->shape);
    pool->winner = arena_alloc(tape->arena, size_mul(pool->y->count, sizeof(int32_t)));
    CHECK(patches_plane(&pool->patches) <= INT32_MAX, "maxpool: planes of %zu elements",
          patches_plane(&pool->patches));
    parallel_for(chunk_count(x->shape.dim[0]), forward_chunk, pool);
    tape_record(tape, &maxpool_op, pool->y, 1, &x, pool);
    return pool->y;
}

/* y[p] = x[winner[p]]: the gradient goes to the winner alone. */
static void backward_chunk(void *context, int i, int worker) {
    (void)worker;
    const MaxPool *pool = context;
    size_t channels = (size_t)pool->patches.channels;
    size_t x_plane = patches_plane(&pool->patches);
    size_t y_plane = (size_t)patches_columns(&pool->patches);
    size_t first = (size_t)chunk_begin(i) * channels;
    size_t last = (size_t)chunk_end(i, pool->x->shape.dim[0]) * channels;
    for (size_t plane = first; plane < last; plane++) {
        float *dx = pool->x->grad + plane * x_plane;
        for (size_t j = plane * y_plane; j < (plane + 1) * y_plane; j++)
            if (pool->winner[j] >= 0) dx[pool->winner[j]] += pool->y->grad[j];
    }
}

static void maxpool_backward(const Entry *entry) {
    parallel_for(chunk_count(entry->in[0]->shape.dim[0]), backward_chunk, entry->saved);
}

static const struct {
    Shape x;
    Window window; /* kernel, stride, padding, dilation */
} trials[] = {
    {{4, {2, 3, 4, 6}}, {{1, 2, 2}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}}},
    {{4, {2, 2, 7, 5}}, {{1, 3, 2}, {1, 1, 2}, {0, 1, 1}, {1, 2, 1}}},
    {{3, {CHUNK + 1, 2, 9}}, {{1, 1, 3}, {1, 1, 2}, {0, 0, 1}, {1, 1, 1}}},
    {{5, {2, 2, 4, 3, 4}}, {{2, 3, 2}, {2, 1, 1}, {1, 0, 0}, {1, 1, 2}}},
};

/* A shuffled arithmetic sequence: a finite difference with a step below its distance changes no
 * winner. */
static void maxpool_sample(Arena *arena, Rng *rng, int trial, Sample *sample) {
    const float distance = 0.25f;
    Tensor *x = tensor_new(arena, trials[trial].x);
    uint32_t *order = arena_alloc(arena, size_mul(x->count, sizeof *order));
    rng_permutation(rng, order, (uint32_t)x->count);
    for (size_t i = 0; i < x->count; i++)
        x->data[i] = distance * ((float)order[i] - 0.5f * (float)x->count);
    x->needs_grad = true;
    sample->inputs = 1;
    sample->in[0] = x;
    sample->spec = &trials[trial].window;
}

static Tensor *maxpool_forward(Tape *tape, const Sample *sample) {
    return op_maxpool(tape, sample->in[0], sample->spec);
}

const Op maxpool_op = {
    .name = "maxpool",
    .backward = maxpool_backward,
    .samples = sizeof trials / sizeof *trials,
    .sample = maxpool_sample,
    .forward = maxpool_forward,
};
