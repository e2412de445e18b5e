#include "quant/bn.h"

#include <math.h>
#include <string.h>

#include "autograd/kernels/parallel.h"
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

/* u = z / (gamma r) + b by channel of z[N,C,P]; in: z, gamma[C], b[C] or NULL. */
typedef struct Unfold {
    int batch, channels, row;
    const float *r; /* [C] 1 / running deviation */
} Unfold;

static size_t row_begin(const Unfold *u, int n, int c) {
    return ((size_t)n * (size_t)u->channels + (size_t)c) * (size_t)u->row;
}

static void unfold_channel(void *context, int c, int worker) {
    (void)worker;
    const Entry *entry = context;
    const Unfold *u = entry->saved;
    float s = entry->in[1]->data[c] * u->r[c], b = entry->in[2] ? entry->in[2]->data[c] : 0;
    for (int n = 0; n < u->batch; n++) {
        const float *z = entry->in[0]->data + row_begin(u, n, c);
        float *y = entry->out->data + row_begin(u, n, c);
        for (int i = 0; i < u->row; i++) y[i] = z[i] / s + b;
    }
}

/* dz = du / s, db = sum du; d(1/s)/dgamma = -1 / (s gamma), so dgamma = -sum(du z) / (s gamma). */
static void unfold_channel_backward(void *context, int c, int worker) {
    (void)worker;
    const Entry *entry = *(const Entry **)context;
    const Unfold *u = entry->saved;
    Tensor *z = entry->in[0], *gamma = entry->in[1], *b = entry->in[2];
    float s = gamma->data[c] * u->r[c];
    double sum = 0, dot = 0;
    for (int n = 0; n < u->batch; n++) {
        size_t row = row_begin(u, n, c);
        const float *du = entry->out->grad + row, *pz = z->data + row;
        float row_sum = 0, row_dot = 0;
        for (int i = 0; i < u->row; i++) {
            row_sum += du[i];
            row_dot += du[i] * pz[i];
        }
        for (int i = 0; z->needs_grad && i < u->row; i++) z->grad[row + (size_t)i] += du[i] / s;
        sum += (double)row_sum;
        dot += (double)row_dot;
    }
    if (gamma->needs_grad) gamma->grad[c] -= (float)(dot / ((double)s * (double)gamma->data[c]));
    if (b && b->needs_grad) b->grad[c] += (float)sum;
}

static void unfold_backward(const Entry *entry) {
    parallel_for(entry->in[1]->shape.dim[0], unfold_channel_backward, &entry);
}

static Tensor *op_unfold(Tape *tape, Tensor *z, Tensor *gamma, Tensor *b, const float *r) {
    Unfold *u = arena_alloc(tape->arena, sizeof *u);
    *u = (Unfold){.batch = z->shape.dim[0], .channels = z->shape.dim[1], .r = r};
    u->row = (int)(z->count / (size_t)u->batch / (size_t)u->channels);
    Entry entry = {.in = {z, gamma, b}, .out = tape_tensor(tape, z->shape), .saved = u};
    parallel_for(u->channels, unfold_channel, &entry);
    tape_record(tape, &unfold_op, entry.out, 3, entry.in, u);
    return entry.out;
}

static void unfold_sample(Arena *arena, Rng *rng, int trial, Sample *s) {
    static const Shape shapes[] = {{4, {3, 2, 2, 3}}, {2, {5, 3}}};
    Tensor *gamma = sample_leaf(arena, rng, SHAPE(shapes[trial].dim[1]), 0.5f);
    Tensor *r = sample_leaf(arena, rng, gamma->shape, 0.5f);
    for (size_t c = 0; c < gamma->count; c++) { /* away from 0, where 1 / gamma bends */
        gamma->data[c] += copysignf(1, gamma->data[c]);
        r->data[c] = 1 + fabsf(r->data[c]);
    }
    *s = (Sample){3, {sample_leaf(arena, rng, shapes[trial], 1), gamma}, r->data};
    if (trial == 0) s->in[2] = sample_leaf(arena, rng, gamma->shape, 1);
}

static Tensor *unfold_run(Tape *tape, const Sample *s) {
    return op_unfold(tape, s->in[0], s->in[1], s->in[2], s->spec);
}

const Op unfold_op = {
    .name = "unfold",
    .backward = unfold_backward,
    .samples = 2,
    .sample = unfold_sample,
    .forward = unfold_run,
};

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
    const Tensor *mean = node_tensor(q->batchnorm, "running_mean"),
                 *var = node_tensor(q->batchnorm, "running_var");
    float *r = arena_alloc(tape->arena, sizeof *r * gamma->count);
    for (size_t c = 0; c < gamma->count; c++) r[c] = 1 / sqrtf(var->data[c] + spec->eps);

    /* the fold keeps today's statistics for its way back: the batchnorm below moves them */
    Tensor *usable = op_usable_gamma(tape, gamma);
    Folded folded =
        weighted_fold(tape, q, like(tape->arena, q->batchnorm, usable, mean->data, var->data));
    folded.bias = NULL;
    Tensor *z = weighted_apply(tape, q, x, &folded);
    Tensor *u = op_unfold(tape, z, usable, node_tensor(q->node, "bias"), r);
    return q->batchnorm->layer->forward(run, q->batchnorm, &u);
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
