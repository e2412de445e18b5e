#include "quant/bn.h"

#include <math.h>
#include <string.h>

#include "nn/layers/batchnorm.h"
#include "quant/rules/weighted.h"

/* --- parts --- */

static const float LEAST_GAMMA = 0x1p-20f;

/* dgamma = dy where gamma itself was passed on. */
static void usable_backward(const Entry *entry) {
    const Tensor *gamma = entry->in[0];
    for (size_t c = 0; c < gamma->count; c++)
        if (fabsf(gamma->data[c]) >= LEAST_GAMMA) gamma->grad[c] += entry->out->grad[c];
}

static const Op usable_op = {.name = "usable_gamma", .backward = usable_backward};

/* gamma, or 1 where it is too small to divide by. */
static Tensor *op_usable_gamma(Tape *tape, Tensor *gamma) {
    Tensor *y = tape_tensor(tape, gamma->shape);
    for (size_t c = 0; c < gamma->count; c++)
        y->data[c] = fabsf(gamma->data[c]) < LEAST_GAMMA ? 1 : gamma->data[c];
    tape_record(tape, &usable_op, y, 1, &gamma, NULL);
    return y;
}

/* A batchnorm like `node` with another gamma and other statistics, which are copied. Owned by the
 * arena. */
static const Node *like(Arena *arena, const Node *node, Tensor *gamma, const float *mean,
                        const float *var) {
    Node *copy = arena_alloc(arena, sizeof *copy);
    *copy = *node;
    for (int i = 0; i < copy->params; i++) {
        Param *p = &copy->param[i];
        if (strcmp(p->name, "weight") == 0) p->tensor = gamma;
        if (strcmp(p->name, "running_mean") == 0)
            p->tensor = tensor_copy(arena, p->tensor->shape, mean);
        if (strcmp(p->name, "running_var") == 0)
            p->tensor = tensor_copy(arena, p->tensor->shape, var);
    }
    return copy;
}

/* --- modes --- */

static Tensor *simulate_frozen(const Run *run, const QNode *q, Tensor *x) {
    Folded folded = weighted_fold(run->tape, q, q->batchnorm);
    return weighted_apply(run->tape, q, x, &folded);
}

static Tensor *simulate_running(const Run *run, const QNode *q, Tensor *x) {
    Tape *tape = run->tape;
    const BatchNormLayerSpec *spec = q->batchnorm->spec;
    Tensor *gamma = node_tensor(q->batchnorm, "weight");
    Tensor *mean = node_tensor(q->batchnorm, "running_mean"),
           *var = node_tensor(q->batchnorm, "running_var");
    Tensor *r = tape_tensor(tape, gamma->shape);
    for (size_t c = 0; c < gamma->count; c++) r->data[c] = 1 / sqrtf(var->data[c] + spec->eps);

    /* the fold keeps today's statistics for its way back: the batchnorm below moves them */
    Tensor *usable = op_usable_gamma(tape, gamma);
    Folded folded =
        weighted_fold(tape, q, like(tape->arena, q->batchnorm, usable, mean->data, var->data));
    folded.bias = NULL;
    Tensor *z = weighted_apply(tape, q, x, &folded);
    Tensor *y = op_batchnorm_divided(tape, z, op_mul(tape, usable, r), gamma,
                                     node_tensor(q->batchnorm, "bias"),
                                     &(BatchNormSpec){.mean = mean->data,
                                                      .var = var->data,
                                                      .momentum = spec->momentum,
                                                      .eps = spec->eps,
                                                      .training = true});
    /* b moves the mean of u, and neither y nor, through it, the loss */
    const Tensor *b = node_tensor(q->node, "bias");
    for (size_t c = 0; b && c < b->count; c++) mean->data[c] += spec->momentum * b->data[c];
    node_tensor(q->batchnorm, "num_batches_tracked")->data[0]++;
    return y;
}

/* Mean and unbiased variance of each channel, and the running statistics moved towards them: an
 * op_batchnorm of momentum 1 makes the batch's statistics the running ones. */
static Tensor *simulate_batch(const Run *run, const QNode *q, Tensor *x) {
    const Node *batchnorm = q->batchnorm;
    const BatchNormLayerSpec *spec = batchnorm->spec;
    Tensor *gamma = node_tensor(batchnorm, "weight"), *beta = node_tensor(batchnorm, "bias");
    Tensor *running[] = {node_tensor(batchnorm, "running_mean"),
                         node_tensor(batchnorm, "running_var")};
    Tape constant = {.arena = run->tape->arena}; /* statistics are constants of the step */
    Tensor *mean = tensor_zeros(constant.arena, gamma->shape),
           *var = tensor_zeros(constant.arena, gamma->shape);
    Tensor *value = q->node->layer->apply(&constant, q->node, x, node_tensor(q->node, "weight"),
                                          node_tensor(q->node, "bias"));
    op_batchnorm(&constant, value, gamma, beta,
                 &(BatchNormSpec){mean->data, var->data, 1, spec->eps, .training = true});
    const Tensor *batch[] = {mean, var};
    for (int k = 0; k < 2; k++)
        for (size_t c = 0; c < gamma->count; c++)
            running[k]->data[c] += spec->momentum * (batch[k]->data[c] - running[k]->data[c]);
    node_tensor(batchnorm, "num_batches_tracked")->data[0]++;

    Folded folded =
        weighted_fold(run->tape, q, like(constant.arena, batchnorm, gamma, mean->data, var->data));
    return weighted_apply(run->tape, q, x, &folded);
}

const BnMode bn_mode_list[] = {
    {"frozen", simulate_frozen},
    {"running", simulate_running},
    {"batch", simulate_batch},
    {0},
};

const BnMode *bn_mode_find(const char *name) {
    for (const BnMode *mode = bn_mode_list; mode->name; mode++)
        if (strcmp(mode->name, name) == 0) return mode;
    return NULL;
}

const char *bn_mode_name(int index) {
    int count = (int)(sizeof bn_mode_list / sizeof *bn_mode_list) - 1;
    return index < count ? bn_mode_list[index].name : NULL;
}
