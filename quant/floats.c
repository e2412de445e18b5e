/* Mixed nets: which layers stay float or are only simulated, and what that means for their
 * neighbours. */
#include "quant/quantnet.h"

#include <string.h>

#include "nn/nearest.h"
#include "quant/rules/integers.h"

const Node *quant_node(const QuantNet *net, const char *name, Error *error) {
    Node *node = graph_find(net->graph, name);
    if (node) return node;
    Nearest nearest = nearest_to(name, strlen(name));
    for (int i = 0; i < net->graph->nodes; i++) nearest_try(&nearest, net->graph->node[i].name);
    const char *near = nearest.best;
    error_set(error, ERROR_INPUT, "%s has no node '%.63s'%s%s%s", net->graph->name, name,
              near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    return NULL;
}

/* Passes on what it reads: absorbed by the node before it, or a mover of values. */
static bool passes_on(const QNode *q) {
    return q->into || !q->rule->owns_range;
}

static bool too_fine(const QNode *q) {
    bool weights = q->rule->arrays && q->weight.bits > BITS_MOST;
    bool fine = weights || q->out->spec.bits > BITS_MOST;
    for (int k = 0; k < q->node->inputs; k++) fine |= q->in[k]->spec.bits > BITS_MOST;
    return fine;
}

void quant_assign(QuantNet *net) {
    const Graph *graph = net->graph;
    bool wanted[GRAPH_MAX_NODES] = {
        false}; /* a quantized layer reads the value: it must lie on its grid */
    for (int i = graph->nodes - 1; i >= 0; i--) {
        QNode *q = &net->node[i];
        bool wants = passes_on(q) ? wanted[i] : !q->is_float;
        for (int k = 0; k < q->node->inputs; k++) wanted[q->node->in[k]] |= wants;
        if (passes_on(q)) continue;
        q->out->bypassed = q->is_float && !wanted[i];
        q->simulated = q->is_float || too_fine(q);
    }
}

bool quant_switch(QuantNet *net, const char *name, bool quantized, Error *error) {
    const Node *node = quant_node(net, name, error);
    if (!node) return false;
    QNode *q = &net->node[node->index];
    if (q->into)
        return error_set(error, ERROR_INPUT, "%s: it is a part of %s: name that", name,
                         q->into->name);
    if (!q->rule->owns_range)
        return error_set(error, ERROR_INPUT,
                         "%s: %s layers pass on the codes of their input: name the layer before",
                         name, node->layer->name);
    if (quantized && !q->rule->exact)
        return error_set(error, ERROR_INPUT, "%s: %s layers are always float here", name,
                         node->layer->name);
    q->is_float = !quantized;
    quant_assign(net);
    return true;
}

bool quant_integral(const QuantNet *net, Error *error) {
    for (int i = 0; i < net->graph->nodes; i++) {
        const QNode *q = &net->node[i];
        const char *name = q->node->name;
        if (passes_on(q) || !q->simulated) continue;
        if (!q->node->layer->rule)
            return error_set(error, ERROR_INPUT,
                             "%s: %s layers stay float among quantized ones: such a net can be "
                             "evaluated and fine-tuned; its integers come from the float net, by "
                             "stair freeze --dynamic",
                             name, q->node->layer->name);
        if (q->is_float)
            return error_set(error, ERROR_INPUT,
                             "%s stays float, as the configuration says: such a net can be "
                             "evaluated and fine-tuned, "
                             "but it has no integer program",
                             name);
        return error_set(
            error, ERROR_INPUT,
            "%s has more than %d bits, or reads a value that has: such a net can be evaluated and "
            "fine-tuned, but it has no integer program",
            name, BITS_MOST);
    }
    return true;
}

char *quant_floats(const QuantNet *net, Arena *arena) {
    char *text = NULL;
    for (int i = 0; i < net->graph->nodes; i++)
        if (!passes_on(&net->node[i]) && net->node[i].is_float)
            text = arena_text(arena, "%s%s%s", text ? text : "", text ? ", " : "",
                              net->graph->node[i].name);
    return text;
}

/* --- the listing --- */

static char *spec_text(const QuantSpec *spec, Arena *arena) {
    return arena_text(arena, "%dbit %s%s %s", spec->bits, spec->is_signed ? "signed" : "unsigned",
                      spec->full_range && spec->is_signed && spec->symmetric ? " full" : "",
                      spec->symmetric ? "symmetric" : "affine");
}

static void add_line(char **text, Arena *arena, const char *name, const char *what,
                     const QuantSpec *spec, const char *range, const char *method, bool on) {
    const char *options =
        spec->scale_amax > 0 ? arena_text(arena, " scale_amax=%g", (double)spec->scale_amax) : "";
    *text = arena_text(arena, "%s%-12s %-10s %s %s%s calibrator=%s %s\n", *text, name, what,
                       spec_text(spec, arena), range, options, spec->amax > 0 ? "fixed" : method,
                       on ? "quant" : "off");
}

/* "axis=(0) amax=[0.01, 0.78](64)": least and largest of that many; of affine grids, of their
 * further ends. */
static char *weight_range(const QNode *q, Arena *arena) {
    const WeightedIntegers *w = q->integers;
    const char *axis = q->weight.per_channel ? "axis=(0)" : "per-tensor";
    if (q->simulated || !w) return arena_text(arena, "%s amax=dynamic", axis);
    float least = INFINITY, most = 0;
    for (int c = 0; c < w->grid.channels; c++) {
        float amax = dequantize(&w->grid, c, w->grid.qmax);
        if (!q->weight.symmetric) amax = fmaxf(amax, -dequantize(&w->grid, c, w->grid.qmin));
        least = fminf(least, amax);
        most = fmaxf(most, amax);
    }
    return w->grid.channels == 1 ? arena_text(arena, "%s amax=%.4f", axis, (double)most)
                                 : arena_text(arena, "%s amax=[%.4f, %.4f](%d)", axis,
                                              (double)least, (double)most, w->grid.channels);
}

char *quant_text(const QuantNet *net, Arena *arena) {
    char *text = arena_text(arena, "%s", "");
    for (int i = 0; i < net->graph->nodes; i++) {
        const QNode *q = &net->node[i];
        if (passes_on(q)) continue;
        const char *name = q->node->name;
        if (q->rule->arrays)
            add_line(&text, arena, name, "weight", &q->weight, weight_range(q, arena),
                     q->weight.method ? q->weight.method->name : "max", !q->is_float);
        const QParams *p = &q->out->q;
        const char *range = "per-tensor range=unknown";
        if (q->out->ready)
            range =
                arena_text(arena, "per-tensor range=[%.4f, %.4f]",
                           (double)dequantize(p, 0, p->qmin), (double)dequantize(p, 0, p->qmax));
        const Method *method = q->out->method;
        add_line(&text, arena, name, "activation", &q->out->spec, range,
                 method ? method->name : "none", !q->out->bypassed);
    }
    return text;
}
