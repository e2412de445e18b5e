/* The configuration as JSON. One list says what fields a spec has: reading, writing and patching
 * follow it. */
#include <string.h>

#include "nn/nearest.h"
#include "quant/bn.h"
#include "quant/config/config.h"
#include "quant/config/descriptor.h"
#include "quant/config/members.h"

/* --- the fields of a spec --- */

typedef struct SpecField {
    const char *name;
    size_t offset, size;
    bool (*read)(const json_t *value, void *place, Error *error);
    json_t *(*write)(const void *place);
} SpecField;

static bool read_method(const json_t *value, void *place, Error *error) {
    const char *name = json_is_string(value) ? json_string_value(value) : "";
    const Method *method = method_find(name);
    if (!method) return error_set(error, ERROR_INPUT, "no method '%.40s'", name);
    *(const Method **)place = method;
    return true;
}

static bool read_own_method(const json_t *value, void *place, Error *error) {
    if (!json_is_null(value)) return read_method(value, place, error);
    *(const Method **)place = NULL;
    return true;
}

static json_t *write_int(const void *place) {
    return json_integer(*(const int *)place);
}
static json_t *write_bool(const void *place) {
    return json_boolean(*(const bool *)place);
}
static json_t *write_positive(const void *place) {
    float value = *(const float *)place;
    return value > 0 ? json_real((double)value) : json_null();
}
static json_t *write_own_method(const void *place) {
    const Method *method = *(const Method *const *)place;
    return method ? json_string(method->name) : json_null();
}

#define FIELD(name, field, read, write)                                                            \
    { name, offsetof(QuantSpec, field), sizeof(((QuantSpec *)0)->field), read, write }
static const SpecField spec_fields[] = {
    FIELD("bits", bits, member_bits, write_int),
    FIELD("signed", is_signed, member_bool, write_bool),
    FIELD("symmetric", symmetric, member_bool, write_bool),
    FIELD("per_channel", per_channel, member_bool, write_bool),
    FIELD("full_range", full_range, member_bool, write_bool),
    FIELD("amax", amax, member_positive, write_positive),
    FIELD("scale_amax", scale_amax, member_positive, write_positive),
    FIELD("method", method, read_own_method, write_own_method),
};
enum { SPEC_FIELDS = sizeof spec_fields / sizeof *spec_fields, BITS_FIELD = 0 };

void patch_apply(const SpecPatch *patch, QuantSpec *spec) {
    for (int i = 0; i < SPEC_FIELDS; i++)
        if (patch->given >> i & 1)
            memcpy((char *)spec + spec_fields[i].offset,
                   (const char *)&patch->spec + spec_fields[i].offset, spec_fields[i].size);
}

void patch_bits(SpecPatch *patch, int bits) {
    patch->given |= 1U << BITS_FIELD;
    patch->spec.bits = bits;
}

static bool read_descriptor(const json_t *value, void *place, Error *error) {
    SpecPatch *patch = place;
    QuantDescriptor descriptor;
    if (!descriptor_from_json(value, &descriptor, error) ||
        !descriptor_spec(&descriptor, &patch->spec, error))
        return false;
    patch->given = (1U << SPEC_FIELDS) - 1; /* a descriptor says everything */
    return true;
}

/* A patch: an object of fields, over those of its "descriptor" if it has one, or a predefined
 * descriptor's name. */
static bool read_patch(const json_t *value, void *place, Error *error) {
    SpecPatch *patch = place;
    const json_t *descriptor = json_is_string(value) ? value : json_object_get(value, "descriptor");
    if (descriptor && !read_descriptor(descriptor, patch, error)) return false;
    if (json_is_string(value)) return true;
    SpecPatch unused;
    Member members[SPEC_FIELDS + 2] = {{"descriptor", read_descriptor, &unused}};
    for (int i = 0; i < SPEC_FIELDS; i++) {
        members[i + 1] = (Member){spec_fields[i].name, spec_fields[i].read,
                                  (char *)&patch->spec + spec_fields[i].offset};
        if (json_object_get(value, spec_fields[i].name)) patch->given |= 1U << i;
    }
    return members_read(value, "it", members, error);
}

static bool read_spec(const json_t *value, void *place, Error *error) {
    SpecPatch patch = {0};
    if (!read_patch(value, &patch, error)) return false;
    patch_apply(&patch, place);
    return true;
}

static json_t *patch_to_json(const SpecPatch *patch) {
    json_t *json = json_object();
    for (int i = 0; i < SPEC_FIELDS; i++)
        if (patch->given >> i & 1)
            json_object_set_new(
                json, spec_fields[i].name,
                spec_fields[i].write((const char *)&patch->spec + spec_fields[i].offset));
    return json;
}

static json_t *spec_to_json(const QuantSpec *spec) {
    return patch_to_json(&(SpecPatch){(1U << SPEC_FIELDS) - 1, *spec});
}

/* --- layers --- */

static bool read_layer(const json_t *value, LayerConfig *layer, Error *error) {
    layer->is_float = json_is_null(value);
    if (layer->is_float) return true;
    return members_read(value, "it",
                        (Member[]){{"activation", read_patch, &layer->activation},
                                   {"weight", read_patch, &layer->weight},
                                   {0}},
                        error);
}

static bool read_kinds(const json_t *value, void *place, Error *error) {
    QuantConfig *config = place;
    const char *key;
    json_t *layer;
    if (!json_is_object(value))
        return error_set(error, ERROR_INPUT, "expected an object of kinds of layers");
    json_object_foreach((json_t *)value, key, layer) {
        const Layer *near = layer_nearest(key);
        if (!layer_find(key))
            return error_set(error, ERROR_INPUT, "no layer is a '%.40s'%s%s%s", key,
                             near ? "; did you mean " : "", near ? near->name : "",
                             near ? "?" : "");
        if (config->kinds == CONFIG_KINDS)
            return error_set(error, ERROR_INPUT, "more than %d kinds", CONFIG_KINDS);
        Error reason = {0};
        if (!read_layer(layer, quant_config_kind(config, key), &reason))
            return error_set(error, ERROR_INPUT, "%s: %s", key, reason.message);
    }
    return true;
}

/* Whether the nodes exist is known when there is a net: quant_prepare. */
static bool read_nodes(const json_t *value, void *place, Error *error) {
    QuantConfig *config = place;
    const char *key;
    json_t *layer;
    if (!json_is_object(value)) return error_set(error, ERROR_INPUT, "expected an object of nodes");
    json_object_foreach((json_t *)value, key, layer) {
        if (strlen(key) >= NODE_NAME || config->nodes == GRAPH_MAX_NODES)
            return error_set(error, ERROR_INPUT,
                             "'%.80s': a name that is too long, or more nodes than a net has", key);
        Error reason = {0};
        if (!read_layer(layer, quant_config_node(config, key), &reason))
            return error_set(error, ERROR_INPUT, "%s: %s", key, reason.message);
    }
    return true;
}

static json_t *layers_to_json(int count, const LayerConfig list[]) {
    json_t *json = json_object();
    for (int i = 0; i < count; i++) {
        json_t *layer = list[i].is_float ? json_null() : json_object();
        if (list[i].activation.given)
            json_object_set_new(layer, "activation", patch_to_json(&list[i].activation));
        if (list[i].weight.given)
            json_object_set_new(layer, "weight", patch_to_json(&list[i].weight));
        json_object_set_new(json, list[i].name, layer);
    }
    return json;
}

/* --- the whole --- */

static bool read_percentile(const json_t *value, void *place, Error *error) {
    double percentile = json_number_value(value);
    if (!json_is_number(value) || !(percentile > 0 && percentile <= 100))
        return error_set(error, ERROR_INPUT, "expected a number above 0, at most 100");
    *(double *)place = percentile;
    return true;
}

static bool read_ste(const json_t *value, void *place, Error *error) {
    const char *name = json_is_string(value) ? json_string_value(value) : "";
    if (ste_find(name, place)) return true;
    return error_set(error, ERROR_INPUT, "no straight-through estimator '%.40s'", name);
}

static bool read_learn(const json_t *value, void *place, Error *error) {
    const char *name = json_is_string(value) ? json_string_value(value) : "";
    const Learn *learn = learn_find(name);
    if (!learn) return error_set(error, ERROR_INPUT, "no way '%.40s' to learn ranges", name);
    *(const Learn **)place = learn;
    return true;
}

static bool read_bn(const json_t *value, void *place, Error *error) {
    const char *name = json_is_string(value) ? json_string_value(value) : "";
    const BnMode *mode = bn_mode_find(name);
    if (!mode) return error_set(error, ERROR_INPUT, "no mode '%.40s' of batch normalisation", name);
    *(const BnMode **)place = mode;
    return true;
}

/* The preset comes before every other member, wherever it stands. */
static bool read_preset(const json_t *value, void *place, Error *error) {
    const char *name = json_is_string(value) ? json_string_value(value) : "";
    if (quant_config_preset(name, place)) return true;
    Nearest nearest = nearest_to(name, strlen(name));
    for (int i = 0; preset_name(i); i++) nearest_try(&nearest, preset_name(i));
    const char *near = nearest.best;
    return error_set(error, ERROR_INPUT, "no preset '%.40s'%s%s%s", name,
                     near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

bool quant_config_from_json(const json_t *json, QuantConfig *config, Error *error) {
    QuantConfig read = quant_config_default(), unused;
    const json_t *preset = json_object_get(json, "preset");
    Error reason = {0};
    if (preset && !read_preset(preset, &read, &reason))
        return error_set(error, ERROR_INPUT, "quantization.preset: %s", reason.message);
    if (!members_read(json, "quantization",
                      (Member[]){{"preset", read_preset, &unused},
                                 {"activation", read_spec, &read.activation},
                                 {"weight", read_spec, &read.weight},
                                 {"edge_bits", member_bits, &read.edge_bits},
                                 {"method", read_method, &read.method},
                                 {"percentile", read_percentile, &read.percentile},
                                 {"portable", member_bool, &read.portable},
                                 {"ste", read_ste, &read.ste},
                                 {"learn_ranges", read_learn, &read.learn},
                                 {"bn", read_bn, &read.bn},
                                 {"layers", read_kinds, &read},
                                 {"overrides", read_nodes, &read},
                                 {0}},
                      error))
        return false;
    if (!activation_check(&read.activation, &reason))
        return error_set(error, ERROR_INPUT, "quantization.activation: %s", reason.message);
    if (!weight_check(&read.weight, &reason))
        return error_set(error, ERROR_INPUT, "quantization.weight: %s", reason.message);
    *config = read;
    return true;
}

json_t *quant_config_to_json(const QuantConfig *config) {
    json_t *json = json_pack(
        "{s:o, s:o, s:i, s:s, s:f, s:s, s:s, s:s}", "activation", spec_to_json(&config->activation),
        "weight", spec_to_json(&config->weight), "edge_bits", config->edge_bits, "method",
        config->method->name, "percentile", config->percentile, "ste", ste_names[config->ste],
        "learn_ranges", config->learn->name, "bn", config->bn->name);
    if (config->portable) json_object_set_new(json, "portable", json_true());
    if (config->kinds)
        json_object_set_new(json, "layers", layers_to_json(config->kinds, config->kind));
    if (config->nodes)
        json_object_set_new(json, "overrides", layers_to_json(config->nodes, config->node));
    return json;
}

bool quant_config_read(const char *path, QuantConfig *config, Error *error) {
    json_t *json = json_read(path, 1 << 20, error);
    Error reason = {0};
    bool ok = json && (quant_config_from_json(json, config, &reason) ||
                       error_set(error, ERROR_INPUT, "%s: %s", path, reason.message));
    json_decref(json);
    return ok;
}
