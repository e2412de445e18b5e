/* What a configuration says about one node. */
#include "quant/config/config.h"

#include <stdio.h>
#include <string.h>

static LayerConfig *find_or_add(LayerConfig *list, int *count, int most, const char *name) {
    for (int i = 0; i < *count; i++)
        if (strcmp(list[i].name, name) == 0) return &list[i];
    CHECK(*count < most, "%d layers are configured", *count);
    LayerConfig *layer = &list[(*count)++];
    *layer = (LayerConfig){0};
    snprintf(layer->name, sizeof layer->name, "%s", name);
    return layer;
}

LayerConfig *quant_config_kind(QuantConfig *config, const char *kind) {
    return find_or_add(config->kind, &config->kinds, CONFIG_KINDS, kind);
}

LayerConfig *quant_config_node(QuantConfig *config, const char *node) {
    return find_or_add(config->node, &config->nodes, GRAPH_MAX_NODES, node);
}

static bool any_uses(const LayerConfig *layer, int count, const Method *method) {
    for (int i = 0; i < count; i++)
        if (layer[i].activation.spec.method == method || layer[i].weight.spec.method == method)
            return true;
    return false;
}

bool quant_config_uses(const QuantConfig *config, const Method *method) {
    return config->method == method || config->activation.method == method ||
           config->weight.method == method || any_uses(config->kind, config->kinds, method) ||
           any_uses(config->node, config->nodes, method);
}

bool activation_check(const QuantSpec *spec, Error *error) {
    if (spec->per_channel)
        return error_set(error, ERROR_INPUT, "activations have one scale, not one per channel");
    if (spec->amax > 0 && !spec->symmetric)
        return error_set(error, ERROR_INPUT,
                         "amax is the range of symmetric codes; affine ones have two ends");
    return true;
}

bool weight_check(const QuantSpec *spec, Error *error) {
    QuantSpec rest = *spec;
    rest.per_channel = false;
    if (spec->symmetric && !spec->is_signed)
        return error_set(error, ERROR_INPUT,
                         "weights have both signs: unsigned codes of them need a zero point, "
                         "\"symmetric\": false");
    if (spec->method && strcmp(spec->method->name, "moving-average") == 0)
        return error_set(error, ERROR_INPUT,
                         "the range of weights is that of the present ones: there is no average of "
                         "them; minmax looks at all");
    return activation_check(&rest, error);
}

static void apply(const LayerConfig *layer, NodeConfig *resolved) {
    patch_apply(&layer->activation, &resolved->activation);
    patch_apply(&layer->weight, &resolved->weight);
    resolved->is_float = layer->is_float;
}

bool quant_config_resolve(const QuantConfig *config, const Node *node, bool edge,
                          NodeConfig *resolved, Error *error) {
    *resolved = (NodeConfig){config->activation, config->weight, false};
    if (edge) resolved->activation.bits = config->edge_bits;
    for (int i = 0; i < config->kinds; i++)
        if (strcmp(config->kind[i].name, node->layer->name) == 0) apply(&config->kind[i], resolved);
    for (int i = 0; i < config->nodes; i++)
        if (strcmp(config->node[i].name, node->name) == 0) apply(&config->node[i], resolved);
    Error reason = {0};
    if (!activation_check(&resolved->activation, &reason))
        return error_set(error, ERROR_INPUT, "%s: activation: %s", node->name, reason.message);
    if (!weight_check(&resolved->weight, &reason))
        return error_set(error, ERROR_INPUT, "%s: weight: %s", node->name, reason.message);
    return true;
}
