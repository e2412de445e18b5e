#include "quant/fold.h"

#include <math.h>

#include "nn/layers/batchnorm.h"

extern const Layer batchnorm_layer;

/* 1 / sqrt(var + eps) of channel c, the one place. */
static float inverse_deviation(const Node *batchnorm, size_t c) {
    const BatchNormLayerSpec *spec = batchnorm->spec;
    return 1.0f / sqrtf(node_tensor(batchnorm, "running_var")->data[c] + spec->eps);
}

/* dW = s dV and dgamma = sum(dV W) / deviation, for V = s W. */
static void weight_backward(const Entry *entry) {
    Tensor *w = entry->in[0], *gamma = entry->in[1];
    const Node *batchnorm = entry->saved;
    size_t outputs = gamma->count, depth = w->count / outputs;
    for (size_t o = 0; o < outputs; o++) {
        const float *dv = entry->out->grad + o * depth;
        float inverse = inverse_deviation(batchnorm, o), sum = 0;
        float s = gamma->data[o] * inverse;
        for (size_t k = 0; k < depth; k++) {
            if (w->needs_grad) w->grad[o * depth + k] += s * dv[k];
            sum += dv[k] * w->data[o * depth + k];
        }
        if (gamma->needs_grad) gamma->grad[o] += sum * inverse;
    }
}

Tensor *op_fold_weight(Tape *tape, Tensor *w, const Node *batchnorm) {
    Tensor *gamma = node_tensor(batchnorm, "weight"), *v = tape_tensor(tape, w->shape);
    size_t outputs = gamma->count, depth = w->count / outputs;
    for (size_t o = 0; o < outputs; o++) {
        float s = gamma->data[o] * inverse_deviation(batchnorm, o);
        for (size_t k = 0; k < depth; k++) v->data[o * depth + k] = s * w->data[o * depth + k];
    }
    tape_record(tape, &fold_weight_op, v, 2, (Tensor *[]){w, gamma}, (void *)batchnorm);
    return v;
}

/* For c = s (b - mean) + beta: db = s dc, dgamma = (b - mean) dc / deviation, dbeta = dc. */
static void bias_backward(const Entry *entry) {
    Tensor *b = entry->in[0], *gamma = entry->in[1], *beta = entry->in[2];
    const Node *batchnorm = entry->saved;
    const float *mean = node_tensor(batchnorm, "running_mean")->data;
    for (size_t o = 0; o < gamma->count; o++) {
        float dc = entry->out->grad[o], inverse = inverse_deviation(batchnorm, o);
        float centred = (b ? b->data[o] : 0) - mean[o];
        if (b && b->needs_grad) b->grad[o] += gamma->data[o] * inverse * dc;
        if (gamma->needs_grad) gamma->grad[o] += centred * inverse * dc;
        if (beta->needs_grad) beta->grad[o] += dc;
    }
}

Tensor *op_fold_bias(Tape *tape, Tensor *b, const Node *batchnorm) {
    Tensor *gamma = node_tensor(batchnorm, "weight"), *beta = node_tensor(batchnorm, "bias");
    Tensor *c = tape_tensor(tape, gamma->shape);
    const float *mean = node_tensor(batchnorm, "running_mean")->data;
    for (size_t o = 0; o < gamma->count; o++) {
        float s = gamma->data[o] * inverse_deviation(batchnorm, o);
        c->data[o] = s * ((b ? b->data[o] : 0) - mean[o]) + beta->data[o];
    }
    tape_record(tape, &fold_bias_op, c, 3, (Tensor *[]){b, gamma, beta}, (void *)batchnorm);
    return c;
}

/* --- gradcheck --- */

/* A batchnorm of its own, with statistics of order 1; the first channel's gamma is 0. */
static Node *sample_batchnorm(Arena *arena, Rng *rng, int channels) {
    static const char *const names[] = {"weight", "bias", "running_mean", "running_var"};
    Node *node = arena_zeros(arena, sizeof *node);
    BatchNormLayerSpec *spec = node->spec = arena_zeros(arena, sizeof *spec);
    spec->eps = 1e-5f;
    node->arena = arena;
    batchnorm_layer.shape(node, (const Shape *[]){&SHAPE(channels)}, NULL);
    for (int i = 0; i < 4; i++) {
        Tensor *t = node_tensor(node, names[i]);
        t->data = arena_alloc(arena, t->count * sizeof(float));
        for (size_t c = 0; c < t->count; c++) t->data[c] = rng_normal(rng);
    }
    Tensor *var = node_tensor(node, "running_var");
    for (size_t c = 0; c < var->count; c++) var->data[c] = 0.5f + fabsf(var->data[c]);
    node_tensor(node, "weight")->data[0] = 0;
    return node;
}

/* Weights of linear layers, convolutions, and one output alone. */
static void weight_sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    static const Shape shapes[] = {{2, {4, 5}}, {4, {3, 2, 2, 3}}, {3, {1, 1, 2}}};
    Node *node = sample_batchnorm(arena, rng, shapes[trial].dim[0]);
    *s =
        (Sample){2, {sample_leaf(arena, rng, shapes[trial], 1), node_tensor(node, "weight")}, node};
}

static Tensor *weight_run(Tape *tape, const Sample *s) {
    return op_fold_weight(tape, s->in[0], s->spec);
}

const Op fold_weight_op = {
    .name = "fold_weight",
    .backward = weight_backward,
    .samples = 3,
    .sample = weight_sample,
    .forward = weight_run,
};

/* With a bias and without. */
static void bias_sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    Node *node = sample_batchnorm(arena, rng, 5);
    *s = (Sample){3, {NULL, node_tensor(node, "weight"), node_tensor(node, "bias")}, node};
    if (trial == 0) s->in[0] = sample_leaf(arena, rng, SHAPE(5), 1);
}

static Tensor *bias_run(Tape *tape, const Sample *s) {
    return op_fold_bias(tape, s->in[0], s->spec);
}

const Op fold_bias_op = {
    .name = "fold_bias",
    .backward = bias_backward,
    .samples = 2,
    .sample = bias_sample,
    .forward = bias_run,
};
