#include "quant/quantnet.h"

#include <float.h>
#include <string.h>

#include "quant/portable.h"
#include "quant/rules/weighted.h"

/* A layer whose row names no rule, or a batchnorm that is to stay float. */
static const Rule float_rule = {.name = "float", .owns_range = true};

/* --- preparation --- */

/* Joins what follows node i to it: a batchnorm behind a weighted layer, then a relu behind any
 * layer that owns its range. A batchnorm that nothing has joined stands for itself. The chain's
 * quantizer sees the value behind its last node. */
static void absorb_chain(QuantNet *net, int i) {
    Graph *graph = net->graph;
    QNode *q = &net->node[i];
    Node *last = q->node, *next = graph_only_reader(graph, i);
    if (node_has_rule(last, "fold")) q->batchnorm = last;
    if (node_has_rule(last, "weighted") && node_has_rule(next, "fold")) {
        q->batchnorm = next;
        net->node[next->index].into = q->node;
        last = next;
        next = graph_only_reader(graph, last->index);
    }
    if (q->node->inputs > 0 && next && layer_clamps(next->layer)) {
        q->relu = next;
        net->node[next->index].into = q->node;
        next = graph_only_reader(graph, next->index);
    }
    if (q->node->inputs > 0 && next && node_has_rule(next, "share") && next->layer->tail) {
        q->pool = next;
        net->node[next->index].behind = q;
    }
}

/* The node whose range the net's output has: back through all that passes codes on. */
static int output_maker(const QuantNet *net) {
    int i = net->graph->nodes - 1;
    while (net->node[i].into || !net->node[i].rule->owns_range) i = net->graph->node[i].in[0];
    return i;
}

/* Is the value the net's input or output? */
static bool is_edge(const QuantNet *net, const QNode *q) {
    return q->node->inputs == 0 || q->node->index == output_maker(net);
}

static void attach_quantizers(QuantNet *net, const NodeConfig *config) {
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
        q->out = quantizer_new(graph->arena, node->name, &config[i].activation);
        if (q->rule->unit_range) quantizer_fix(q->out);
        q->out->order = net->quantizers;
        net->quantizer[net->quantizers++] = q->out;
    }
}

static void align_scales(QuantNet *net) {
    for (int i = 0; i < net->graph->nodes; i++) {
        QNode *q = &net->node[i];
        if (!q->into && q->rule->align) q->rule->align(q);
    }
}

/* A word of the configuration must be about something that the node has. */
static bool check_word(const LayerConfig *word, const QNode *q, Error *error) {
    const char *name = q->node->name, *kind = q->node->layer->name;
    if (q->into)
        return error_set(error, ERROR_INPUT, "%s: it is a part of %s: configure that", name,
                         q->into->name);
    if (!q->rule->owns_range && !node_has_rule(q->node, "fold"))
        return error_set(error, ERROR_INPUT,
                         "%s: %s layers pass on the codes of their input and have none of their "
                         "own: configure the "
                         "layer before",
                         name, kind);
    if (word->weight.given && !node_has_rule(q->node, "weighted"))
        return error_set(error, ERROR_INPUT, "%s: %s layers have no weights to quantize", name,
                         kind);
    return true;
}

static bool check_words(const QuantNet *net, Error *error) {
    const QuantConfig *config = &net->config;
    for (int i = 0; i < config->nodes; i++) {
        const Node *node = quant_node(net, config->node[i].name, error);
        if (!node || !check_word(&config->node[i], &net->node[node->index], error)) return false;
    }
    for (int i = 0; i < net->graph->nodes; i++)
        for (int k = 0; k < config->kinds; k++)
            if (strcmp(config->kind[k].name, net->node[i].node->layer->name) == 0 &&
                !check_word(&config->kind[k], &net->node[i], error))
                return false;
    return true;
}

/* of[i]: what holds for node i. */
static bool configure(QuantNet *net, NodeConfig of[], Error *error) {
    if (!check_words(net, error)) return false;
    for (int i = 0; i < net->graph->nodes; i++) {
        QNode *q = &net->node[i];
        if (!quant_config_resolve(&net->config, q->node, is_edge(net, q), &of[i], error))
            return false;
        q->weight = of[i].weight;
        q->is_float = of[i].is_float || q->rule == &float_rule;
        if (q->is_float && node_has_rule(q->node, "fold")) q->rule = &float_rule;
        if (q->into || q->is_float) continue;
        if (q->rule->check && !q->rule->check(q, error)) return false;
    }
    return true;
}

QuantNet *quant_prepare(Graph *graph, const QuantConfig *config, Error *error) {
    QuantNet *net = arena_zeros(graph->arena, sizeof *net);
    net->graph = graph;
    net->config = *config;
    for (int i = 0; i < graph->nodes; i++) {
        Node *node = &graph->node[i];
        net->node[i] =
            (QNode){.rule = rule_find(node->layer->rule), .node = node, .config = &net->config};
        if (!net->node[i].rule) net->node[i].rule = &float_rule;
    }
    for (int i = 0; i < graph->nodes; i++)
        if (!net->node[i].into && net->node[i].rule->owns_range) absorb_chain(net, i);
    NodeConfig of[GRAPH_MAX_NODES];
    if (!configure(net, of, error)) return NULL;
    attach_quantizers(net, of);
    if (config->portable) align_scales(net);
    quant_assign(net);
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
        const QuantSpec *spec = &quantizer->spec;
        quantizer->method = spec->method ? spec->method : method;
        quantizer->percentile = percentile;
        if (!quantizer->seen.batches)
            return error_set(error, ERROR_INPUT, "%s: its quantizer has seen no data",
                             quantizer->name);
        if (quantizer->method->from_histogram && !quantizer->seen.histogram)
            return error_set(error, ERROR_INPUT,
                             "%s: it has a range but no histogram, from which %s would choose",
                             quantizer->name, quantizer->method->name);
        if (spec->symmetric && !spec->is_signed && quantizer->seen.min < 0)
            return error_set(
                error, ERROR_INPUT,
                "%s: it is to have unsigned codes without a zero point, but has values "
                "down to %g",
                quantizer->name, (double)quantizer->seen.min);
        quantizer_update(quantizer);
    }
    net->config.method = method;
    net->config.percentile = percentile;
    return true;
}

void quant_track(QuantNet *net) {
    for (int i = 0; i < net->quantizers; i++) quantizer_track(net->quantizer[i]);
    quant_fake(net, true);
    quant_observe(net, true);
}

/* --- learned ranges --- */

/* Makes data[count] a parameter of the node; NULL: new ones, all 1. */
static Tensor *learn_scale(QuantNet *net, Node *node, const char *name, int count, float *data) {
    Arena *arena = node->arena;
    node_param(node, name, SHAPE(count), true);
    Param *param = &node->param[node->params - 1];
    param->positive = true;
    param->tensor->data = data ? data : arena_alloc(arena, sizeof *data * (size_t)count);
    for (int c = 0; !data && c < count; c++) param->tensor->data[c] = 1;
    float *kept = arena_alloc(arena, sizeof *kept * (size_t)count);
    net->scale[net->learned++] = (LearnedScale){param->tensor, kept};
    return param->tensor;
}

void quant_learn(QuantNet *net, const Learn *learn) {
    Graph *graph = net->graph;
    CHECK(!net->learned, "%s: its ranges are parameters already", graph->name);
    net->config.learn = learn;
    net->scale = arena_alloc(graph->arena, sizeof *net->scale * 2 * GRAPH_MAX_NODES);
    for (int i = 0; i < graph->nodes; i++) {
        QNode *q = &net->node[i];
        Node *node = q->node;
        if (q->into || q->is_float) continue;
        if (learn->weights && q->rule->arrays) {
            int channels = q->weight.per_channel ? node->shape.dim[0] : 1;
            q->weight_scale = learn_scale(net, node, "weight_fake_quant.scale", channels, NULL);
            if (!q->weight.symmetric)
                q->weight_zero =
                    arena_zeros(graph->arena, sizeof *q->weight_zero * (size_t)channels);
        }
        if (learn->activations && q->rule->owns_range && node->inputs > 0 && !q->out->fixed) {
            q->out->learn = learn;
            q->out->learned =
                learn_scale(net, node, "activation_post_process.scale", 1, q->out->q.scale);
        }
    }
}

void quant_learn_start(QuantNet *net) {
    for (int i = 0; i < net->graph->nodes; i++) {
        QNode *q = &net->node[i];
        Tensor *scale = q->weight_scale;
        if (!scale) continue;
        q->weight_scale = NULL; /* where N9's scales must do, these are wanted */
        weighted_start_grid(q, scale->data, q->weight_zero);
        q->weight_scale = scale;
    }
}

void quant_keep_scales(QuantNet *net) {
    for (int i = 0; i < net->learned; i++)
        memcpy(net->scale[i].kept, net->scale[i].tensor->data,
               net->scale[i].tensor->count * sizeof(float));
}

void quant_limit_scales(QuantNet *net) {
    for (int i = 0; i < net->learned; i++) {
        const LearnedScale *s = &net->scale[i];
        for (size_t c = 0; c < s->tensor->count; c++) {
            float least = fmaxf(s->kept[c] / 2, FLT_MIN), most = fminf(s->kept[c] * 2, 0x1p100f);
            s->tensor->data[c] = clamp_float(s->tensor->data[c], least, most);
        }
    }
}

void quant_align_scales(QuantNet *net) {
    for (int i = 0; i < net->quantizers; i++) {
        const Quantizer *quantizer = net->quantizer[i];
        if (quantizer->learned && quantizer->align.base)
            quantizer->q.scale[0] = portable_scale(&quantizer->align, quantizer->q.scale[0]);
    }
}

/* --- freezing --- */

static bool all_ready(const QuantNet *net, Error *error) {
    for (int i = 0; i < net->quantizers; i++) {
        const Quantizer *quantizer = net->quantizer[i];
        if (!quantizer->ready)
            return error_set(error, ERROR_INPUT, "%s: its range is not known: calibrate first",
                             quantizer->name);
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
        if (q->into || q->simulated || !q->rule->freeze) continue;
        if (!q->rule->freeze(q, net->integers, error)) return false;
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
        bool (*rest)(QNode *, Arena *, Error *) =
            q->rule->complete ? q->rule->complete : q->rule->freeze;
        if (!q->into && rest && !rest(q, net->integers, error)) return false;
    }
    return true;
}
