/* Max-pool (kernels/maxpool.h): nothing but a tail, behind a value that is there already. */
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/row_map.h"
#include "autograd/op.h"
#include "autograd/ops.h"
#include "autograd/tail.h"

extern const Op maxpool_op;

typedef struct MaxPool {
    const TailWork *work;
    Tensor *x; /* [N,C,...] */
    float
        *planes; /* backward's, one for each worker; NULL: the gradients are stored where they go */
} MaxPool;

static void forward_plane(void *context, size_t p, int worker) {
    (void)worker;
    const MaxPool *pool = context;
    tail_run(pool->work, p, pool->x->data + p * pool->work->plane);
}

Tensor *op_maxpool(Tape *tape, Tensor *x, const Window *window) {
    MaxPool pool = {.x = x};
    pool.work = tail_new(tape, &(Tail){.pool = window}, &x->shape);
    parallel_planes(x->shape.dim[0], pool.work->channels, forward_plane, &pool);
    tape_record(tape, &maxpool_op, pool.work->out, 1, &x, (void *)pool.work);
    return pool.work->out;
}

static void backward_plane(void *context, size_t p, int worker) {
    const MaxPool *pool = context;
    size_t plane = pool->work->plane;
    float *dx = pool->x->grad + p * plane;
    float *g = pool->planes ? pool->planes + (size_t)worker * plane : dx;
    tail_gradient(pool->work, p, g);
    if (pool->planes) row_add(g, plane, dx);
}

static void maxpool_backward(const Entry *entry) {
    Arena *arena = entry->tape->arena;
    ArenaMark mark = arena_mark(arena);
    MaxPool pool = {.work = entry->saved, .x = entry->in[0]};
    if (!entry->fresh) {
        size_t floats = size_mul(pool.work->plane, (size_t)parallel_threads());
        pool.planes = arena_alloc(arena, size_mul(floats, sizeof(float)));
    }
    parallel_planes(pool.x->shape.dim[0], pool.work->channels, backward_plane, &pool);
    arena_rewind(arena, mark);
}

static const struct {
    Shape x;
    Window window; /* kernel, stride, padding, dilation, uneven */
} trials[] = {
    {{4, {2, 3, 4, 6}}, {{1, 2, 2}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}, {0, 0, 0}}},
    {{4, {2, 2, 7, 5}}, {{1, 3, 2}, {1, 1, 2}, {0, 1, 1}, {1, 2, 1}, {0, 1, -1}}},
    {{3, {CHUNK + 1, 2, 9}}, {{1, 1, 3}, {1, 1, 2}, {0, 0, 1}, {1, 1, 1}, {0, 0, 0}}},
    {{5, {2, 2, 4, 3, 4}}, {{2, 3, 2}, {2, 1, 1}, {1, 0, 0}, {1, 1, 2}, {0, 0, 0}}},
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
    .fills = 1,
    .samples = sizeof trials / sizeof *trials,
    .sample = maxpool_sample,
    .forward = maxpool_forward,
};
