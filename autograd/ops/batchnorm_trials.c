/* On what gradcheck tries batch normalisation. */
#include "autograd/ops/batchnorm.h"

#include <math.h>

#include "autograd/ops.h"

/* Values v that a step of gradcheck keeps in their order and, where nothing is normalised, on their
 * side of 0; x and the addend are v / 2 each. */
static void avoid_kinks(Arena *arena, Rng *rng, const BatchNormSpec *spec, Sample *s) {
    const float distance = 0.25f;
    Tensor *x = s->in[0], *addend = s->in[ADDEND];
    uint32_t *order = arena_alloc(arena, size_mul(x->count, sizeof *order));
    rng_permutation(rng, order, (uint32_t)x->count);
    for (size_t i = 0; i < x->count; i++) {
        x->data[i] = distance / 2 * ((float)order[i] - 0.5f * (float)(x->count - 1));
        if (addend) addend->data[i] = x->data[i];
    }
    for (int c = 0; c < x->shape.dim[1]; c++) {
        spec->mean[c] = s->in[2]->data[c] = 0;
        spec->var[c] = s->in[1]->data[c] = 1;
    }
}

typedef struct Trial {
    BatchNormSpec spec;
    Tail tail;
} Trial;

/* Ranks 2 to 5, training; then evaluation; then tails; then x / s; then pools that come first. */
void batchnorm_sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    static const Window pool = {{1, 2, 2}, {1, 2, 2}, {0, 0, 0}, {1, 1, 1}, {0, 0, 0}};
    static const struct {
        Shape x;
        bool training, addend, relu, pool, divided;
    } trials[BATCHNORM_TRIALS] = {
        {{2, {9, 2}}, 1, 0, 0, 0, 0},       {{3, {3, 2, 5}}, 1, 0, 0, 0, 0},
        {{4, {2, 3, 3, 3}}, 1, 0, 0, 0, 0}, {{5, {2, 2, 2, 2, 3}}, 1, 0, 0, 0, 0},
        {{4, {2, 3, 2, 2}}, 0, 0, 0, 0, 0}, {{4, {2, 3, 2, 3}}, 1, 1, 0, 0, 0},
        {{4, {2, 2, 5, 4}}, 0, 1, 1, 1, 0}, {{4, {3, 3, 2, 2}}, 1, 0, 0, 0, 1},
        {{4, {2, 2, 5, 4}}, 0, 0, 1, 1, 0}, {{4, {2, 2, 5, 4}}, 1, 0, 0, 1, 0},
    };
    int channels = trials[trial].x.dim[1];
    Tensor *mean = sample_leaf(arena, rng, SHAPE(channels), 1);
    Tensor *var = sample_leaf(arena, rng, SHAPE(channels), 1);
    for (int c = 0; c < channels; c++) var->data[c] = 0.5f + fabsf(var->data[c]);
    Trial *spec = arena_zeros(arena, sizeof *spec);
    spec->spec = (BatchNormSpec){mean->data, var->data, 0.1f, 1e-5f, trials[trial].training};
    spec->tail.relu = trials[trial].relu;
    spec->tail.pool = trials[trial].pool ? &pool : NULL;
    *s = (Sample){3, {sample_leaf(arena, rng, trials[trial].x, 1)}, spec};
    for (int k = 1; k < 3; k++) s->in[k] = sample_leaf(arena, rng, SHAPE(channels), 1);
    if (trials[trial].addend) s->in[s->inputs++] = sample_leaf(arena, rng, trials[trial].x, 1);
    if (trials[trial].divided) { /* of either sign, not near 0, and eps counts */
        s->inputs = INPUTS;
        Tensor *divisor = s->in[DIVISOR] = sample_leaf(arena, rng, SHAPE(channels), 0.3f);
        for (int c = 0; c < channels; c++) divisor->data[c] += copysignf(1, divisor->data[c]);
        spec->spec.eps = 0.5f;
    }
    if (trials[trial].pool) avoid_kinks(arena, rng, &spec->spec, s);
}

Tensor *batchnorm_trial(Tape *tape, const Sample *s) {
    const Trial *spec = s->spec;
    Tail tail = spec->tail;
    if (s->in[DIVISOR])
        return op_batchnorm_divided(tape, s->in[0], s->in[DIVISOR], s->in[1], s->in[2],
                                    &spec->spec);
    tail.addend = s->in[ADDEND];
    return op_batchnorm_tail(tape, s->in[0], s->in[1], s->in[2], &spec->spec, &tail);
}
