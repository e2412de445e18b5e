/* Average pool: the sum of each window over the number of kernel places. Padding counts as 0, or is
 * left out of sum and number. */
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/patches.h"
#include "autograd/kernels/sums.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <string.h>

extern const Op avgpool_op;

typedef struct AvgPool {
    Window window;
    Patches patches;
    const float *places; /* [positions of the result] what each sum is divided by */
    Tensor *x, *y;       /* [N,C,...] */
} AvgPool;

/* What to do with a row of outputs and the inputs, `stride` apart, under one kernel place. */
typedef void Row(int count, int stride, const float *places, float *restrict x, float *restrict y);

static void walk_plane(const AvgPool *pool, const Place *at, float *x, float *y, Row *row) {
    int stride = pool->window.stride[2];
    for (int d = at->span[0].begin; d < at->span[0].end; d++) {
        Rows rows = place_rows(&pool->patches, at, d);
        for (int h = 0; h < rows.count; h++) {
            size_t to = rows.output + (size_t)h * rows.output_step;
            row(rows.length, stride, pool->places + to,
                x + rows.input + (size_t)h * rows.input_step, y + to);
        }
    }
}

/* Both directions walk alike: the samples of a chunk, the kernel places, the planes. */
static void walk_chunk(const AvgPool *pool, int chunk, float *x, float *y, Row *row) {
    size_t channels = (size_t)pool->patches.channels;
    size_t x_plane = patches_plane(&pool->patches);
    size_t y_plane = (size_t)patches_columns(&pool->patches);
    for (int n = chunk_begin(chunk); n < chunk_end(chunk, pool->x->shape.dim[0]); n++)
        for (int k = 0; k < patches_places(&pool->patches); k++) {
            Place at = patches_place(&pool->patches, k);
            size_t first = (size_t)n * channels;
            for (size_t c = first; c < first + channels; c++)
                walk_plane(pool, &at, x + c * x_plane, y + c * y_plane, row);
        }
}

static void add_inputs(int count, int stride, const float *places, float *restrict x,
                       float *restrict y) {
    (void)places; /* divided once, at the end */
    for (int i = 0; i < count; i++) y[i] += x[i * stride];
}

/* y[p] = 1/places times the sum of its inputs: each input gets dy[p] / places. */
static void spread_gradient(int count, int stride, const float *places, float *restrict dx,
                            float *restrict dy) {
    for (int i = 0; i < count; i++) dx[i * stride] += dy[i] / places[i];
}

/* One window that is the whole plane: no places to walk over. */
static bool is_global(const AvgPool *pool) {
    const Patches *p = &pool->patches;
    for (int d = 0; d < SPATIAL; d++)
        if (p->out[d] != 1 || pool->window.padding[d] || pool->window.kernel[d] != p->in[d])
            return false;
    return true;
}

static void global_forward(void *context, size_t p, int worker) {
    (void)worker;
    const AvgPool *pool = context;
    size_t count = patches_plane(&pool->patches);
    pool->y->data[p] = (float)(row_sum(pool->x->data + p * count, count) / (double)count);
}

static void global_backward(void *context, size_t p, int worker) {
    (void)worker;
    const AvgPool *pool = context;
    size_t count = patches_plane(&pool->patches);
    float *dx = pool->x->grad + p * count, g = pool->y->grad[p] / (float)count;
    for (size_t i = 0; i < count; i++) dx[i] += g;
}

static void forward_chunk(void *context, int i, int worker) {
    (void)worker;
    const AvgPool *pool = context;
    size_t sample = (size_t)pool->patches.channels * (size_t)patches_columns(&pool->patches);
    size_t first = (size_t)chunk_begin(i) * sample;
    size_t last = (size_t)chunk_end(i, pool->x->shape.dim[0]) * sample;
    size_t plane = (size_t)patches_columns(&pool->patches);
    float *y = pool->y->data;
    memset(y + first, 0, sizeof *y * (last - first));
    walk_chunk(pool, i, pool->x->data, y, add_inputs);
    for (size_t j = first; j < last; j += plane)
        for (size_t p = 0; p < plane; p++) y[j + p] /= pool->places[p];
}

/* How many places of its window count at each position of the result; the mean of none is 0. */
static const float *places_of(Arena *arena, const Patches *p, bool count_padding) {
    float *places = arena_alloc(arena, sizeof *places * (size_t)patches_columns(p)), *to = places;
    for (int d = 0; d < p->out[0]; d++)
        for (int h = 0; h < p->out[1]; h++)
            for (int w = 0; w < p->out[2]; w++) {
                int inside = window_inside(p->window, 0, d, p->in[0]) *
                             window_inside(p->window, 1, h, p->in[1]) *
                             window_inside(p->window, 2, w, p->in[2]);
                *to++ = count_padding ? (float)patches_places(p) : inside ? (float)inside : 1;
            }
    return places;
}

Tensor *op_avgpool(Tape *tape, Tensor *x, const Window *window, bool count_padding) {
    AvgPool *pool = arena_alloc(tape->arena, sizeof *pool);
    *pool = (AvgPool){.window = *window, .x = x};
    pool->y = tape_tensor(tape, window_shape(window, &x->shape, x->shape.dim[1]));
    pool->patches = patches_of(&pool->window, x->shape.dim[1], &x->shape);
    pool->places = places_of(tape->arena, &pool->patches, count_padding);
    if (is_global(pool))
        parallel_planes(x->shape.dim[0], x->shape.dim[1], global_forward, pool);
    else
        parallel_along(chunk_count(x->shape.dim[0]), forward_chunk, pool);
    tape_record(tape, &avgpool_op, pool->y, 1, &x, pool);
    return pool->y;
}

static void backward_chunk(void *context, int i, int worker) {
    (void)worker;
    const AvgPool *pool = context;
    walk_chunk(pool, i, pool->x->grad, pool->y->grad, spread_gradient);
}

static void avgpool_backward(const Entry *entry) {
    AvgPool *pool = entry->saved;
    const int *size = pool->x->shape.dim;
    if (is_global(pool))
        parallel_planes(size[0], size[1], global_backward, pool);
    else
        parallel_along(chunk_count(size[0]), backward_chunk, pool);
}

typedef struct Trial {
    Shape x;
    Window window; /* kernel, stride, padding, dilation, uneven */
    bool count_padding;
} Trial;

static const Trial trials[] = {
    {{4, {2, 3, 4, 6}}, {{1, 2, 2}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}, {0, 0, 0}}, true},
    {{4, {2, 2, 7, 5}}, {{1, 3, 2}, {1, 1, 2}, {0, 1, 1}, {1, 2, 1}, {0, 0, -1}}, true},
    {{3, {CHUNK + 1, 2, 9}}, {{1, 1, 3}, {1, 1, 2}, {0, 0, 1}, {1, 1, 1}, {0, 0, 0}}, true},
    {{4, {2, 3, 4, 5}}, {{1, 4, 5}, {1, 1, 1}, {0, 0, 0}, {1, 1, 1}, {0, 0, 0}}, true},
    {{5, {2, 2, 4, 3, 4}}, {{2, 3, 2}, {2, 1, 1}, {1, 0, 0}, {1, 1, 2}, {0, 1, 0}}, false},
    {{4, {2, 2, 5, 4}}, {{1, 3, 3}, {1, 2, 1}, {0, 1, 1}, {1, 1, 1}, {0, 0, 0}}, false},
};

static void avgpool_sample(Arena *arena, Rng *rng, int trial, Sample *sample) {
    sample->inputs = 1;
    sample->in[0] = sample_leaf(arena, rng, trials[trial].x, 1.0f);
    sample->spec = &trials[trial];
}

static Tensor *avgpool_forward(Tape *tape, const Sample *sample) {
    const Trial *trial = sample->spec;
    return op_avgpool(tape, sample->in[0], &trial->window, trial->count_padding);
}

const Op avgpool_op = {
    .name = "avgpool",
    .backward = avgpool_backward,
    .samples = sizeof trials / sizeof *trials,
    .sample = avgpool_sample,
    .forward = avgpool_forward,
};
