/* The two walks of a quantized net: what graph_forward does at each node. */
#include <math.h>

#include "quant/quantnet.h"

/* The value of a chain before it is rounded. */
static Tensor *value_of(const Run *run, const QNode *q, Tensor *const in[]) {
    Tensor *y = q->rule->simulate ? q->rule->simulate(run, q, in)
                                  : q->node->layer->forward(run, q->node, in);
    return q->relu ? q->relu->layer->forward(run, q->relu, &y) : y;
}

static bool is_relu(const Node *node) {
    return node->layer->clamp[0] == 0 && isinf(node->layer->clamp[1]);
}

/* A step of fine-tuning computes relu, rounding and max-pool of a chain as one op: the pool that it
 * takes along, NULL where it may not. */
static const Window *pool_of(const Run *run, const QNode *q) {
    Tail tail = {0};
    Tensor *const in[LAYER_MAX_INPUTS] = {NULL};
    if (!run->training || !q->pool || !q->rule->simulate || !quantizer_joins(q->out)) return NULL;
    if (q->relu && !is_relu(q->relu)) return NULL;
    return q->pool->layer->tail(run, q->pool, in, &tail) ? tail.pool : NULL;
}

static Tensor *forward_simulate(const Run *run, const Node *node, Tensor *const in[]) {
    const QNode *q = node->quant;
    if (q->into || (q->behind && pool_of(run, q->behind))) return in[0];
    const Window *pool = pool_of(run, q);
    if (pool)
        return quantizer_pass_joined(q->out, run, q->rule->simulate(run, q, in), q->relu, pool,
                                     q->config->ste);
    Tensor *y = value_of(run, q, in);
    return q->rule->owns_range ? quantizer_pass(q->out, run, y, q->config->ste) : y;
}

static Tensor *forward_exact(const Run *run, const Node *node, Tensor *const in[]) {
    const QNode *q = node->quant;
    if (q->into) return in[0];
    if (node->inputs == 0 &&
        !floats_finite(in[0]->data, in[0]->count)) { /* later values cannot be */
        error_set(run->error, ERROR_INPUT, "%s: a value is NaN or infinite", node->name);
        return tensor_zeros(run->tape->arena,
                            in[0]->shape); /* NaN is no integer: the walk ends on codes */
    }
    if (q->simulated) { /* nothing is observed: evaluation changes no range */
        Tensor *y = value_of(run, q, in);
        return q->out->bypassed ? y : rule_round(run, q, y);
    }
    return q->rule->exact(run, q, in);
}

static void set_forward(QuantNet *net,
                        Tensor *(*forward)(const Run *, const Node *, Tensor *const[])) {
    for (int i = 0; i < net->graph->nodes; i++) net->graph->node[i].forward = forward;
}

void quant_simulate(QuantNet *net) {
    set_forward(net, forward_simulate);
}

void quant_exact(QuantNet *net) {
    CHECK(net->integers, "%s: exact evaluation before quant_freeze", net->graph->name);
    quant_fake(net, true); /* the weights of simulated layers */
    set_forward(net, forward_exact);
}
