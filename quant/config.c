#include "quant/config.h"

#include <string.h>

#include "autograd/file.h"
#include "quant/bn.h"

QuantConfig quant_config_default(void) {
    return (QuantConfig){
        .activation = {.bits = 8},
        .weight = {.bits = 8, .is_signed = true, .symmetric = true, .per_channel = true},
        .edge_bits = 8,
        .method = method_find("moving-average"),
        .percentile = 99.99,
        .ste = STE_CODE,
        .learn = learn_find("none"),
        .bn = bn_mode_find("frozen"),
    };
}

static json_t *spec_to_json(const QuantSpec *spec) {
    return json_pack("{s:i, s:b, s:b, s:b}", "bits", spec->bits, "signed", spec->is_signed,
                     "symmetric", spec->symmetric, "per_channel", spec->per_channel);
}

json_t *quant_config_to_json(const QuantConfig *config) {
    return json_pack("{s:o, s:o, s:i, s:s, s:f, s:s, s:s, s:s}", "activation",
                     spec_to_json(&config->activation), "weight", spec_to_json(&config->weight),
                     "edge_bits", config->edge_bits, "method", config->method->name, "percentile",
                     config->percentile, "ste", ste_names[config->ste], "learn_ranges",
                     config->learn->name, "bn", config->bn->name);
}

/* A member of a JSON object, where it goes, and how it is read; a table of these is a reader. */
typedef struct Member {
    const char *name;
    bool (*read)(const json_t *value, void *place, Error *error);
    void *place;
} Member;

static bool read_members(const json_t *object, const char *what, const Member *members,
                         Error *error) {
    const char *key;
    json_t *value;
    if (!json_is_object(object)) return error_set(error, ERROR_INPUT, "%s is no object", what);
    json_object_foreach((json_t *)object, key, value) {
        const Member *m = members;
        while (m->name && strcmp(m->name, key) != 0) m++;
        if (!m->name) return error_set(error, ERROR_INPUT, "%s has no member '%s'", what, key);
        Error reason = {0};
        if (!m->read(value, m->place, &reason))
            return error_set(error, ERROR_INPUT, "%s.%s: %.200s", what, key, reason.message);
    }
    return true;
}

static bool read_bits(const json_t *value, void *place, Error *error) {
    json_int_t bits = json_integer_value(value);
    if (!json_is_integer(value) || bits < BITS_LEAST || bits > BITS_MOST)
        return error_set(error, ERROR_INPUT, "expected %d to %d bits", BITS_LEAST, BITS_MOST);
    *(int *)place = (int)bits;
    return true;
}

static bool read_bool(const json_t *value, void *place, Error *error) {
    if (!json_is_boolean(value)) return error_set(error, ERROR_INPUT, "expected true or false");
    *(bool *)place = json_is_true(value);
    return true;
}

static bool read_method(const json_t *value, void *place, Error *error) {
    const char *name = json_is_string(value) ? json_string_value(value) : "";
    const Method *method = method_find(name);
    if (!method) return error_set(error, ERROR_INPUT, "no method '%.40s'", name);
    *(const Method **)place = method;
    return true;
}

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

static bool read_spec(const json_t *value, void *place, Error *error) {
    QuantSpec *spec = place;
    return read_members(value, "it",
                        (Member[]){{"bits", read_bits, &spec->bits},
                                   {"signed", read_bool, &spec->is_signed},
                                   {"symmetric", read_bool, &spec->symmetric},
                                   {"per_channel", read_bool, &spec->per_channel},
                                   {0}},
                        error);
}

bool quant_config_from_json(const json_t *json, QuantConfig *config, Error *error) {
    QuantConfig read = quant_config_default();
    if (!read_members(json, "quantization",
                      (Member[]){{"activation", read_spec, &read.activation},
                                 {"weight", read_spec, &read.weight},
                                 {"edge_bits", read_bits, &read.edge_bits},
                                 {"method", read_method, &read.method},
                                 {"percentile", read_percentile, &read.percentile},
                                 {"ste", read_ste, &read.ste},
                                 {"learn_ranges", read_learn, &read.learn},
                                 {"bn", read_bn, &read.bn},
                                 {0}},
                      error))
        return false;
    if (read.activation.per_channel)
        return error_set(error, ERROR_INPUT, "activations have one scale, not one per channel");
    if (!read.weight.is_signed || !read.weight.symmetric)
        return error_set(error, ERROR_INPUT, "weights are signed and symmetric");
    *config = read;
    return true;
}

bool quant_config_read(const char *path, QuantConfig *config, Error *error) {
    enum { MOST = 1 << 20 };
    Arena *arena = arena_new();
    unsigned char *text;
    size_t size;
    bool ok = file_read(arena, path, MOST, &text, &size, error);
    if (ok) {
        json_error_t place;
        json_t *json = json_loadb((char *)text, size, JSON_REJECT_DUPLICATES, &place);
        Error reason = {0};
        if (!json)
            ok = error_set(error, ERROR_INPUT, "%s:%d:%d: %s", path, place.line, place.column,
                           place.text);
        else if (!quant_config_from_json(json, config, &reason))
            ok = error_set(error, ERROR_INPUT, "%s: %s", path, reason.message);
        json_decref(json);
    }
    arena_free(arena);
    return ok;
}
