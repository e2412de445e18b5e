#include "autograd/tail.h"

#include <string.h>

#include "autograd/error.h"
#include "autograd/kernels/row_map.h"
#include "autograd/kernels/sums.h"
#include "autograd/kernels/vector.h"

TailWork *tail_new(Tape *tape, const Tail *tail, const Shape *value) {
    TailWork *work = arena_zeros(tape->arena, sizeof *work);
    if (tail) work->tail = *tail;
    work->channels = value->dim[1];
    size_t planes = (size_t)value->dim[0] * (size_t)value->dim[1];
    work->plane = work->out_plane = planes ? shape_count(value) / planes : 0;
    const Tensor *addend = work->tail.addend;
    CHECK(!addend || shape_equal(&addend->shape, value), "add: %s, %s",
          shape_text(&addend->shape, (char[SHAPE_TEXT]){0}),
          shape_text(value, (char[SHAPE_TEXT]){0}));
    if (!work->tail.pool) {
        work->out = tape_tensor(tape, *value);
        if (work->tail.moments && work->plane)
            work->out->moments = work->moments =
                arena_alloc(tape->arena, size_mul(planes, 2 * sizeof *work->moments));
        return work;
    }
    work->window = *work->tail.pool;
    work->patches = patches_of(&work->window, work->channels, value);
    CHECK(patches_places(&work->patches) <= MAXPOOL_PLACES, "maxpool: a window of %d places",
          patches_places(&work->patches));
    work->out = tape_tensor(tape, window_shape(&work->window, value, work->channels));
    work->out_plane = (size_t)patches_columns(&work->patches);
    work->winner = arena_alloc(tape->arena, size_mul(work->out->count, sizeof *work->winner));
    return work;
}

float *tail_target(const TailWork *work, size_t index, float *plane) {
    return work->tail.pool ? plane : work->out->data + index * work->out_plane;
}

VECTOR static void normalize(size_t count, float mean, float scale, float shift, float *v) {
    for (size_t i = 0; i < count; i++) v[i] = scale * (v[i] - mean) + shift;
}

VECTOR static void cut(size_t count, float *v) {
    for (size_t i = 0; i < count; i++) v[i] = v[i] <= 0 ? 0 : v[i]; /* false for NaN */
}

/* Windows that may lie in the padding alone give -infinity, which a relu before them leaves. */
bool tail_pools_first(const TailWork *work) {
    return work->tail.pool && !window_padded(&work->window);
}

void tail_run(const TailWork *work, size_t index, float *v) {
    const Tail *t = &work->tail;
    size_t c = index % (size_t)work->channels, at = index * work->out_plane;
    float *out = work->out->data + at;
    if (t->mean) normalize(work->plane, t->mean[c], t->scale[c], t->shift[c], v);
    if (t->addend) row_add(t->addend->data + index * work->plane, work->plane, v);
    if (t->relu && !tail_pools_first(work)) cut(work->plane, v);
    if (t->pool) maxpool_plane(&work->patches, v, 1, out, work->winner + at);
    if (t->pool && t->relu) maxpool_cut(out, work->out_plane, work->winner + at);
    if (t->relu && tail_pools_first(work))
        cut(work->out_plane, out); /* the same, of fewer values */
    if (work->moments) row_moments(v, work->plane, work->moments + 2 * index);
}

/* A relu passes where its result is not 0: 1 where x was positive, 0 where it was cut, the kink at
 * 0 included. */
VECTOR static void cut_gradient(size_t count, const float *restrict y, const float *restrict dy,
                                float *restrict g) {
    for (size_t i = 0; i < count; i++) {
        float pass = dy[i]; /* loaded either way: a selection, no branch */
        g[i] = y[i] <= 0 ? 0 : pass;
    }
}

const float *tail_gradient(const TailWork *work, size_t index, float *plane) {
    const Tail *t = &work->tail;
    size_t at = index * work->out_plane;
    const float *y = work->out->data + at, *dy = work->out->grad + at;
    CHECK(!t->mean, "a folded batchnorm has no gradient");
    if (t->pool)
        maxpool_plane_gradient(&work->patches, dy, work->winner + at, plane);
    else if (t->relu)
        cut_gradient(work->plane, y, dy, plane);
    else
        return dy;
    return plane;
}

void tail_addend_gradient(const TailWork *work, size_t index, const float *gradient, bool store) {
    Tensor *addend = work->tail.addend;
    if (!addend || !addend->needs_grad) return;
    float *to = addend->grad + index * work->plane;
    if (store)
        memcpy(to, gradient, sizeof *to * work->plane);
    else
        row_add(gradient, work->plane, to);
}
