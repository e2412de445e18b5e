/* y[i] = f(x[i]; a) for the functions of autograd/pointwise.def. Each function has loops of its
 * own, so that the compiler sees into it. */
#include "autograd/kernels/elementwise.h"
#include "autograd/op.h"
#include "autograd/ops.h"

#include <math.h>

extern const Op pointwise_op;

typedef struct Saved {
    const Pointwise *function;
    float a;
} Saved;

/* dy/dx is the slope: dx[i] += dy[i] slope(x[i]). */
#define POINTWISE(name, f, df)                                                                     \
    static float name##_value(float x, float a) {                                                  \
        (void)a;                                                                                   \
        return f;                                                                                  \
    }                                                                                              \
    static float name##_slope(float x, float y, float a) {                                         \
        (void)x, (void)y, (void)a;                                                                 \
        return df;                                                                                 \
    }                                                                                              \
    static void name##_forward(const void *context, size_t begin, size_t end) {                    \
        const Entry *entry = context;                                                              \
        const float *in = entry->in[0]->data, parameter = ((const Saved *)entry->saved)->a;        \
        float *out = entry->out->data;                                                             \
        for (size_t i = begin; i < end; i++) out[i] = name##_value(in[i], parameter);              \
    }                                                                                              \
    static void name##_backward(const void *context, size_t begin, size_t end) {                   \
        const Entry *entry = context;                                                              \
        const float *in = entry->in[0]->data, parameter = ((const Saved *)entry->saved)->a;        \
        const float *out = entry->out->data, *dy = entry->out->grad;                               \
        float *dx = entry->in[0]->grad;                                                            \
        for (size_t i = begin; i < end; i++)                                                       \
            dx[i] += dy[i] * name##_slope(in[i], out[i], parameter);                               \
    }                                                                                              \
    const Pointwise name##_pointwise = {#name, name##_value, name##_forward, name##_backward};
#include "autograd/pointwise.def"
#undef POINTWISE

const Pointwise *const pointwise_list[] = {
#define POINTWISE(name, f, df) &name##_pointwise,
#include "autograd/pointwise.def"
#undef POINTWISE
    NULL,
};

Tensor *op_pointwise(Tape *tape, Tensor *x, const Pointwise *function, float a) {
    Saved *saved = arena_alloc(tape->arena, sizeof *saved);
    *saved = (Saved){function, a};
    Entry entry = {.in = {x}, .out = tape_tensor(tape, x->shape), .saved = saved};
    elementwise(x->count, function->forward, &entry);
    tape_record(tape, &pointwise_op, entry.out, 1, entry.in, saved);
    return entry.out;
}

static void backward(const Entry *entry) {
    const Saved *saved = entry->saved;
    elementwise(entry->out->count, saved->function->backward, entry);
}

/* Trial i: function i of the list, on both sides of every kink and at least 0.1 from it. */
static void sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    static const float kinks[] = {-3, 0, 0.2f, 3, 6}; /* 0.2 is the parameter's */
    Saved *spec = arena_alloc(arena, sizeof *spec);
    *spec = (Saved){pointwise_list[trial], 0.2f};
    *s = (Sample){1, {sample_leaf(arena, rng, SHAPE(3, 2, 5), 3)}, spec};
    for (size_t i = 0; i < s->in[0]->count; i++)
        for (int k = 0; k < 5; k++) {
            float *x = &s->in[0]->data[i], distance = *x - kinks[k];
            if (fabsf(distance) < 0.1f) *x = kinks[k] + copysignf(0.1f, distance);
        }
}

static Tensor *run(Tape *tape, const Sample *s) {
    const Saved *spec = s->spec;
    return op_pointwise(tape, s->in[0], spec->function, spec->a);
}

const Op pointwise_op = {
    .name = "pointwise",
    .backward = backward,
    .samples = sizeof pointwise_list / sizeof *pointwise_list - 1,
    .sample = sample,
    .forward = run,
};
