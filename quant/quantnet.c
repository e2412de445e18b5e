#include "quant/quantnet.h"

#include <string.h>

/* --- the two walks --- */

static Tensor *forward_simulate(const Run *run, const Node *node, Tensor *const in[]) {
    const QNode *q = node->quant;
    if (q->into) return in[0];
    Tensor *y = q->rule->simulate ? q->rule->simulate(run, q, in) : node->layer->forward(run, node, in);
    if (q->relu) y = q->relu->layer->forward(run, q->relu, &y);
    return q->rule->owns_range ? quantizer_pass(q->out, run, y, q->config->ste) : y;
}

static Tensor *forward_exact(const Run *run, const Node *node, Tensor *const in[]) {
    const QNode *q = node->quant;
    if (q->into) return in[0];
    if (node->inputs == 0 && !floats_finite(in[0]->data, in[0]->count)) { /* later values cannot be */
        error_set(run->error, ERROR_INPUT, "%s: a value is NaN or infinite", node->name);
        return tensor_zeros(run->tape->arena, in[0]->shape); /* NaN is no integer: the walk ends on codes */
    }
    return q->rule->exact(run, q, in);
}

static void set_forward(QuantNet *net,
                        Tensor *(*forward)(const Run *, const Node *, Tensor *const[])) {
    for (int i = 0; i < net->graph->nodes; i++) net->graph->node[i].forward = forward;
}

void quant_simulate(QuantNet *net) { set_forward(net, forward_simulate); }

void quant_exact(QuantNet *net) {
    CHECK(net->integers, "%s: exact evaluation before quant_freeze", net->graph->name);
    set_forward(net, forward_exact);
}

/* --- preparation --- */

static bool has_rule(const Node *node, const char *rule) {
    return node && node->layer->rule && strcmp(node->layer->rule, rule) == 0;
}

/* Joins what follows node i to it: a batchnorm behind a weighted layer, then a relu behind any layer that owns its
 * range. The chain's quantizer sees the value behind its last node. */
static void absorb_chain(QuantNet *net, int i) {
    Graph *graph = net->graph;
    QNode *q = &net->node[i];
    Node *last = q->node, *next = graph_only_reader(graph, i);
    if (has_rule(last, "weighted") && has_rule(next, "fold")) {
        q->batchnorm = next;
        net->node[next->index].into = q->node;
        last = next;
        next = graph_only_reader(graph, last->index);
    }
    if (q->node->inputs > 0 && next && next->layer->clamps_at_zero) {
        q->relu = next;
        net->node[next->index].into = q->node;
    }
}

/* The node whose range the net's output has: back through all that passes codes on. */
static int output_maker(const QuantNet *net) {
    int i = net->graph->nodes - 1;
    while (net->node[i].into || !net->node[i].rule->owns_range) i = net->graph->node[i].in[0];
    return i;
}

static QuantSpec value_spec(const QuantNet *net, int i) {
    QuantSpec spec = net->config.activation;
    bool edge = net->graph->node[i].inputs == 0 || i == output_maker(net);
    if (edge) spec.bits = net->config.edge_bits;
    return spec;
}

static void attach_quantizers(QuantNet *net) {
    Graph *graph = net->graph;
    for (int i = 0; i < graph->nodes; i++) {
        QNode *q = &net->node[i];
        Node *node = q->node;
        for (int k = 0; k < node->inputs; k++) {
            q->from[k] = &graph->node[node->in[k]];
            q->in[k] = net->node[node->in[k]].out;
        }
        if (q->into || !q->rule->owns_range) {
            q->out = q->in[0];
            continue;
        }
        QuantSpec spec = value_spec(net, i);
        q->out = quantizer_new(graph->arena, node->name, &spec);
        q->out->method = net->config.method;
        q->out->percentile = net->config.percentile;
        net->quantizer[net->quantizers++] = q->out;
    }
}

QuantNet *quant_prepare(Graph *graph, const QuantConfig *config, Error *error) {
    QuantNet *net = arena_zeros(graph->arena, sizeof *net);
    net->graph = graph;
    net->config = *config;
    for (int i = 0; i < graph->nodes; i++) {
        Node *node = &graph->node[i];
        net->node[i] = (QNode){.rule = rule_find(node->layer->rule),
                               .node = node,
                               .config = &net->config,
                               .weight = config->weight};
        if (!net->node[i].rule) {
            error_set(error, ERROR_INPUT, "%s: a %s cannot be quantized", node->name,
                      node->layer->name);
            return NULL;
        }
    }
    for (int i = 0; i < graph->nodes; i++)
        if (!net->node[i].into && net->node[i].rule->owns_range) absorb_chain(net, i);
    for (int i = 0; i < graph->nodes; i++) {
        const QNode *q = &net->node[i];
        if (!q->into && q->rule->check && !q->rule->check(q, error)) return NULL;
    }
    attach_quantizers(net);
    for (int i = 0; i < graph->nodes; i++) graph->node[i].quant = &net->node[i];
    quant_simulate(net);
    return net;
}

void quant_release(QuantNet *net) {
    if (!net) return;
    arena_free(net->integers);
    net->integers = NULL;
}

/* --- switches --- */

void quant_observe(QuantNet *net, bool observing) {
    for (int i = 0; i < net->quantizers; i++) net->quantizer[i]->observing = observing;
}

void quant_fake(QuantNet *net, bool faking) {
    for (int i = 0; i < net->quantizers; i++) net->quantizer[i]->faking = faking;
}

/* --- ranges --- */

void quant_collect(QuantNet *net) {
    for (int i = 0; i < net->quantizers; i++)
        net->quantizer[i]->seen.histogram = histogram_new(net->graph->arena);
}

bool quant_select(QuantNet *net, const Method *method, double percentile, Error *error) {
    for (int i = 0; i < net->quantizers; i++) {
        Quantizer *quantizer = net->quantizer[i];
        if (!quantizer->seen.batches || (method->from_histogram && !quantizer->seen.histogram))
            return error_set(error, ERROR_INPUT, "%s: its quantizer has seen no data", quantizer->name);
        quantizer->method = method;
        quantizer->percentile = percentile;
        quantizer_update(quantizer);
    }
    net->config.method = method;
    net->config.percentile = percentile;
    return true;
}

void quant_track(QuantNet *net) {
    for (int i = 0; i < net->quantizers; i++) {
        Quantizer *quantizer = net->quantizer[i];
        const QParams *q = &quantizer->q;
        quantizer->method = method_find("moving-average");
        quantizer->seen.histogram = NULL;
        quantizer->seen.average_min = dequantize(q, 0, q->qmin);
        quantizer->seen.average_max = dequantize(q, 0, q->qmax);
    }
    quant_fake(net, true);
    quant_observe(net, true);
}

/* --- freezing --- */

/* Every value has a range, and codes that are bytes. */
static bool all_ready(const QuantNet *net, Error *error) {
    for (int i = 0; i < net->quantizers; i++) {
        const Quantizer *quantizer = net->quantizer[i];
        if (!quantizer->ready)
            return error_set(error, ERROR_INPUT, "%s: its range is not known: calibrate first",
                             quantizer->name);
        if (quantizer->spec.bits > BITS_MOST)
            return error_set(error, ERROR_INPUT, "%s: values of %d bits, integers have %d at most",
                             quantizer->name, quantizer->spec.bits, BITS_MOST);
    }
    return true;
}

static void renew_integers(QuantNet *net) {
    if (!net->integers) net->integers = arena_new();
    arena_reset(net->integers);
}

bool quant_freeze(QuantNet *net, Error *error) {
    if (!all_ready(net, error)) return false;
    renew_integers(net);
    for (int i = 0; i < net->graph->nodes; i++) {
        QNode *q = &net->node[i];
        if (!q->into && q->rule->freeze && !q->rule->freeze(q, net->integers, error)) return false;
    }
    return true;
}

void quant_blank(QuantNet *net) {
    renew_integers(net);
    for (int i = 0; i < net->graph->nodes; i++) {
        QNode *q = &net->node[i];
        if (!q->into && q->rule->blank) q->rule->blank(q, net->integers);
    }
}

bool quant_complete(QuantNet *net, Error *error) {
    if (!all_ready(net, error)) return false;
    for (int i = 0; i < net->graph->nodes; i++) {
        QNode *q = &net->node[i];
        bool (*rest)(QNode *, Arena *, Error *) = q->rule->complete ? q->rule->complete : q->rule->freeze;
        if (!q->into && rest && !rest(q, net->integers, error)) return false;
    }
    return true;
}
