#include "quant/config/members.h"

#include <float.h>
#include <string.h>

#include "autograd/file.h"
#include "nn/nearest.h"
#include "quant/qparams.h"

json_t *json_read(const char *path, size_t most, Error *error) {
    Arena *arena = arena_new();
    unsigned char *text;
    size_t size;
    json_t *json = NULL;
    json_error_t place;
    if (file_read(arena, path, most, &text, &size, error)) {
        json = json_loadb((char *)text, size, JSON_REJECT_DUPLICATES, &place);
        if (!json)
            error_set(error, ERROR_INPUT, "%s:%d:%d: %s", path, place.line, place.column,
                      place.text);
    }
    arena_free(arena);
    return json;
}

static bool unknown(const char *key, const char *what, const Member *members, Error *error) {
    Nearest nearest = nearest_to(key, strlen(key));
    for (const Member *m = members; m->name; m++) nearest_try(&nearest, m->name);
    if (nearest.best)
        return error_set(error, ERROR_INPUT, "%s has no member '%.64s'; did you mean %s?", what,
                         key, nearest.best);
    return error_set(error, ERROR_INPUT, "%s has no member '%.64s'", what, key);
}

bool members_read(const json_t *object, const char *what, const Member *members, Error *error) {
    const char *key;
    json_t *value;
    if (!json_is_object(object)) return error_set(error, ERROR_INPUT, "%s is no object", what);
    json_object_foreach((json_t *)object, key, value) {
        const Member *m = members;
        while (m->name && strcmp(m->name, key) != 0) m++;
        if (!m->name) return unknown(key, what, members, error);
        Error reason = {0};
        if (!m->read(value, m->place, &reason))
            return error_set(error, ERROR_INPUT, "%s.%s: %.300s", what, key, reason.message);
    }
    return true;
}

bool member_bool(const json_t *value, void *place, Error *error) {
    if (!json_is_boolean(value)) return error_set(error, ERROR_INPUT, "expected true or false");
    *(bool *)place = json_is_true(value);
    return true;
}

bool member_bits(const json_t *value, void *place, Error *error) {
    json_int_t bits = json_integer_value(value);
    if (!json_is_integer(value) || bits < BITS_LEAST || bits > BITS_SIMULATED)
        return error_set(error, ERROR_INPUT, "expected %d to %d bits", BITS_LEAST, BITS_SIMULATED);
    *(int *)place = (int)bits;
    return true;
}

bool member_positive(const json_t *value, void *place, Error *error) {
    double number = json_is_null(value) ? 0 : json_number_value(value);
    bool in_range = number >= (double)FLT_MIN && number <= (double)FLT_MAX;
    if (!json_is_null(value) && !(json_is_number(value) && in_range))
        return error_set(error, ERROR_INPUT, "expected a number above 0, or null");
    *(float *)place = (float)number;
    return true;
}
