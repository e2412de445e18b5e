/* A model with the grids of another tool's file: what the file says becomes a configuration, so
 * that each layer is quantized or float as it was there, and then the scales and zero points
 * themselves. */
#include "quant/given.h"

/* 2^bits codes, or one less around zero. */
static json_t *grid_spec(const GivenGrid *grid, Error *error, const char *name) {
    int64_t codes = grid->most - grid->least + 1;
    bool narrow = grid->least < 0 && grid->least == -grid->most;
    for (int bits = BITS_LEAST; bits <= BITS_MOST; bits++)
        if (codes + narrow == 1 << bits &&
            (grid->least == 0 || narrow || grid->least == -(1 << (bits - 1))) &&
            (!narrow || !grid->zero))
            return json_pack("{s:i, s:b, s:b}", "bits", bits, "signed", grid->least < 0,
                             "symmetric", narrow);
    error_set(error, ERROR_INPUT, "%s: codes from %lld to %lld with zero point %lld can not be had",
              name, (long long)grid->least, (long long)grid->most, (long long)grid->zero);
    return NULL;
}

static json_t *weight_spec(const GivenWeights *weight) {
    return json_pack("{s:b, s:b, s:b}", "per_channel", weight->scales > 1, "symmetric",
                     !weight->zero, "full_range", weight->full_range);
}

/* For each quantizer's node the grid that the file gives its value: said of that node, of one that
 * it absorbed, or of one that passes its codes on. All say the same steps, and the narrowest range
 * holds: the codes that are passed on are within it. */
static bool collect(const Given *given, const QuantNet *net, GivenGrid of[], Error *error) {
    for (int i = 0; i < net->graph->nodes; i++) {
        const GivenGrid *grid = given->grid[i];
        if (!grid) continue;
        const char *name = net->node[i].out->name;
        GivenGrid *owner = &of[graph_find(net->graph, name)->index];
        if (owner->scale == 0) *owner = *grid;
        if (owner->scale != grid->scale || owner->zero != grid->zero)
            return error_set(error, ERROR_INPUT,
                             "%s: its value is rounded to two grids, there and at %s", name,
                             net->graph->node[i].name);
        if (owner->least < grid->least) owner->least = grid->least;
        if (owner->most > grid->most) owner->most = grid->most;
    }
    return true;
}

/* Layers without rounded weights, and values without a grid, stay float. */
static bool is_rounded(const Given *given, const QNode *q, const GivenGrid of[]) {
    int i = q->node->index;
    return of[i].scale > 0 && (!q->rule->arrays || given->weight[i]);
}

/* Batchnorms that stand alone have no word about weights of their own: the default is for them all.
 * The widest grid holds each: a step for every channel, all of which may be one; zero points, all
 * of which may be 0. NULL: there is none. */
static json_t *lone_spec(const Given *given, const QuantNet *net, const GivenGrid of[]) {
    GivenWeights all = {0};
    for (int i = 0; i < net->graph->nodes; i++) {
        const QNode *q = &net->node[i];
        if (q->into || !node_has_rule(q->node, "fold") || !is_rounded(given, q, of)) continue;
        const GivenWeights *weight = given->weight[i];
        if (all.scales < weight->scales) all.scales = weight->scales;
        if (weight->zero) all.zero = weight->zero;
        all.full_range |= weight->full_range;
    }
    return all.scales ? weight_spec(&all) : NULL;
}

/* What the file says, in the words of a configuration. */
static json_t *config_json(const Given *given, const QuantNet *net, const GivenGrid of[],
                           Error *error) {
    json_t *nodes = json_object();
    for (int i = 0; nodes && i < net->graph->nodes; i++) {
        const QNode *q = &net->node[i];
        if (q->into || !q->rule->owns_range) continue;
        json_t *word = json_null();
        if (is_rounded(given, q, of)) {
            json_t *activation = grid_spec(&of[i], error, q->node->name);
            word = json_pack("{s:o*}", "activation", activation);
            if (node_has_rule(q->node, "weighted"))
                json_object_set_new(word, "weight", weight_spec(given->weight[i]));
            if (!activation) {
                json_decref(word);
                json_decref(nodes);
                return NULL;
            }
        }
        json_object_set_new(nodes, q->node->name, word);
    }
    return json_pack("{s:o, s:o*}", "overrides", nodes, "weight", lone_spec(given, net, of));
}

QuantNet *given_net(Graph *graph, Error *error) {
    QuantConfig config = quant_config_default();
    for (int i = 0; i < graph->nodes; i++)
        if (!rule_find(graph->node[i].layer->rule))
            quant_config_node(&config, graph->node[i].name)->is_float = true;
    return quant_prepare(graph, &config, error);
}

static bool set_grids(const Given *given, QuantNet *net, const GivenGrid of[], Error *error) {
    for (int i = 0; i < net->quantizers; i++) {
        Quantizer *quantizer = net->quantizer[i];
        const GivenGrid *grid = &of[graph_find(net->graph, quantizer->name)->index];
        bool rounded = grid->scale > 0;
        if (!rounded && !quantizer->bypassed)
            return error_set(error, ERROR_INPUT,
                             "%s: a quantized layer reads its value, which nothing in the file "
                             "rounds",
                             quantizer->name);
        if (quantizer->fixed &&
            (grid->scale != quantizer->q.scale[0] || grid->zero != quantizer->q.zero_point[0]))
            return error_set(error, ERROR_INPUT, "%s: the grid of its kind of layer has scale %g",
                             quantizer->name, (double)quantizer->q.scale[0]);
        if (rounded) /* a value that is never rounded needs some range, too, to be complete */
            quantizer_give(quantizer, grid->scale, (int32_t)grid->zero);
        else
            quantizer_give(quantizer, quantizer->q.scale[0], quantizer->q.zero_point[0]);
    }
    for (int i = 0; i < net->graph->nodes; i++)
        if (given->weight[i] && !net->node[i].into && !net->node[i].is_float)
            quant_give_weights(&net->node[i], given->weight[i]->scale, given->weight[i]->zero);
    return true;
}

bool model_give(Model *model, const Given *given, Error *error) {
    GivenGrid of[GRAPH_MAX_NODES] = {{0}}; /* scale 0: none */
    QuantNet *net = given_net(model->graph, error);
    if (!net || !collect(given, net, of, error)) return false;
    json_t *json = config_json(given, net, of, error);
    QuantConfig config;
    bool ok = json && quant_config_from_json(json, &config, error);
    json_decref(json);
    if (!ok || !model_quantize(model, &config, error)) return false;
    if (!set_grids(given, model->quant, of, error)) return false;
    quant_fake(model->quant, true);
    return true;
}
