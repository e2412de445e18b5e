#include "train/recipe.h"

#include <string.h>

#include "autograd/error.h"
#include "datasets/augment.h"
#include "optim/optim.h"
#include "optim/schedule.h"

/* How one type of setting is kept as JSON and taken back. */
typedef struct RecipeType {
    json_t *(*keep)(const void *value);
    bool (*take)(const json_t *json, void *value);
} RecipeType;

static json_t *keep_real(const void *value) {
    return json_real(*(const double *)value);
}
static bool take_real(const json_t *json, void *value) {
    *(double *)value = json_number_value(json);
    return json_is_number(json);
}
static json_t *keep_int(const void *value) {
    return json_integer(*(const int *)value);
}
static bool take_int(const json_t *json, void *value) {
    *(int *)value = (int)json_integer_value(json);
    return json_is_integer(json) && json_integer_value(json) == *(int *)value;
}
static json_t *keep_seed(const void *value) {
    return json_integer((json_int_t) * (const uint64_t *)value);
}
static bool take_seed(const json_t *json, void *value) {
    *(uint64_t *)value = (uint64_t)json_integer_value(json);
    return json_is_integer(json) && json_integer_value(json) >= 0;
}
static json_t *keep_flag(const void *value) {
    return json_boolean(*(const bool *)value);
}
static bool take_flag(const json_t *json, void *value) {
    *(bool *)value = json_is_true(json);
    return json_is_boolean(json);
}
static json_t *keep_text(const void *value) {
    const char *text = *(const char *const *)value;
    json_t *json = text ? json_string(text) : NULL;
    return json ? json
                : json_null(); /* a folder's name need not be UTF-8: JSON cannot hold it then */
}
static bool take_text(const json_t *json, void *value) {
    if (!json) return true; /* older files lack newer options: the default stays */
    *(const char **)value = json_string_value(json);
    return json_is_string(json) || json_is_null(json);
}

static const RecipeType real = {keep_real, take_real}, whole = {keep_int, take_int},
                        seed = {keep_seed, take_seed}, flag = {keep_flag, take_flag},
                        text = {keep_text, take_text};

#define ROW(field, option, type)                                                                   \
    { option, offsetof(Settings, field), type }
static const struct {
    const char *option;
    size_t offset;
    const RecipeType *type;
} rows[] = {
    ROW(data, "data", &text),
    ROW(limit, "limit", &whole),
    ROW(epochs, "epochs", &real),
    ROW(batch, "batch", &whole),
    ROW(lr, "lr", &real),
    ROW(optimizer, "optimizer", &text),
    ROW(momentum, "momentum", &real),
    ROW(weight_decay, "weight-decay", &real),
    ROW(nesterov, "nesterov", &flag),
    ROW(schedule, "schedule", &text),
    ROW(warmup, "warmup", &whole),
    ROW(step_size, "step-size", &whole),
    ROW(gamma, "gamma", &real),
    ROW(augment, "augment", &text),
    ROW(keep, "keep", &text),
    ROW(rates, "rates", &text),
    ROW(seed, "seed", &seed),
    ROW(learn_ranges, "learn-ranges", &text),
    ROW(ste, "ste", &text),
    ROW(bn, "bn", &text),
    ROW(freeze_bn_after, "freeze-bn-after", &real),
    ROW(freeze_observers_after, "freeze-observers-after", &real),
    ROW(fixed_scales, "fixed-scales", &flag),
};
enum { ROWS = sizeof rows / sizeof *rows };

json_t *recipe_to_json(const char *kind, const Settings *settings, const Position *position,
                       uint32_t data_crc, const json_t *origin) {
    json_t *json = json_pack("{s:s, s:I, s:I, s:I, s:f, s:I}", "kind", kind, "step",
                             (json_int_t)position->step, "seen", (json_int_t)position->seen,
                             "correct", (json_int_t)position->correct, "loss_sum",
                             position->loss_sum, "data_crc", (json_int_t)data_crc);
    json_t *options = json_object();
    for (int i = 0; i < ROWS; i++)
        json_object_set_new(options, rows[i].option,
                            rows[i].type->keep((const char *)settings + rows[i].offset));
    json_object_set_new(json, "options", options);
    if (origin) json_object_set(json, "origin", (json_t *)origin);
    return json;
}

static bool broken(const char *path, const char *what, Error *error) {
    return error_set(error, ERROR_INPUT, "%s: stair.training: '%s' is missing or no value for it",
                     path, what);
}

/* Is what the file says a value that the command line would take? Text is judged where it is used.
 */
static bool in_range(int i, const Settings *kept) {
    const Option *option = option_find(rows[i].option);
    const void *place = (const char *)kept + rows[i].offset;
    double value = rows[i].type == &real    ? *(const double *)place
                   : rows[i].type == &whole ? *(const int *)place
                                            : option->min;
    bool unset = value == 0 && !option->fallback; /* --limit was not given */
    return unset || (value >= option->min && value <= option->max);
}

/* Compares the option on the command line with the file's; a run may only be made longer. */
static bool agrees(int i, const Settings *given, const Settings *kept, const char *path,
                   Error *error) {
    const char *option = rows[i].option;
    json_t *a = rows[i].type->keep((const char *)given + rows[i].offset);
    json_t *b = rows[i].type->keep((const char *)kept + rows[i].offset);
    bool same = json_equal(a, b);
    char *want = json_dumps(b, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    if (strcmp(option, "epochs") == 0 && given->epochs >= kept->epochs) same = true;
    if (strcmp(option, "data") == 0)
        same = true; /* folders move; the images' checksum is what counts */
    if (!same)
        error_set(error, ERROR_USAGE, "--%s contradicts %s, whose run has %s%s", option, path,
                  json_is_null(b) ? "none"
                  : want          ? want
                                  : "another",
                  strcmp(option, "epochs") == 0 ? " (more would extend it)" : "");
    free(want);
    json_decref(a);
    json_decref(b);
    return same;
}

bool recipe_resume(const json_t *training, const char *kind, const char *path, Settings *settings,
                   Position *position, uint32_t *data_crc, Error *error) {
    const char *name = json_string_value(json_object_get(training, "kind"));
    if (!name || strcmp(name, kind) != 0)
        return error_set(error, ERROR_INPUT, "%s: no %s run to resume", path,
                         strcmp(kind, "train") == 0 ? "training" : "fine-tuning");
    const json_t *options = json_object_get(training, "options");
    Settings kept = *settings;
    for (int i = 0; i < ROWS; i++) {
        void *place = (char *)&kept + rows[i].offset;
        if (!rows[i].type->take(json_object_get(options, rows[i].option), place) ||
            !in_range(i, &kept))
            return broken(path, rows[i].option, error);
        if (settings_given(settings, rows[i].option) && !agrees(i, settings, &kept, path, error))
            return false;
    }
    if (settings_given(settings, "epochs")) kept.epochs = settings->epochs;
    if (settings_given(settings, "data")) kept.data = settings->data;
    static const char *const numbers[] = {"step", "seen", "correct", "data_crc"};
    json_int_t number[4];
    for (int i = 0; i < 4; i++) {
        const json_t *value = json_object_get(training, numbers[i]);
        number[i] = json_integer_value(value);
        if (!json_is_integer(value) || number[i] < 0 || number[i] > (json_int_t)1 << 53)
            return broken(path, numbers[i], error);
    }
    *position = (Position){.step = number[0], .seen = number[1], .correct = number[2]};
    position->loss_sum = json_number_value(json_object_get(training, "loss_sum"));
    *data_crc = (uint32_t)number[3];
    *settings = kept;
    if (!settings->schedule || !schedule_find(settings->schedule))
        return broken(path, "schedule", error);
    if (!settings->optimizer) settings->optimizer = "sgd"; /* older files know no other */
    if (!optimizer_rule(settings->optimizer)) return broken(path, "optimizer", error);
    Augmentations augmentations;
    if (settings->augment && !augment_parse(settings->augment, &augmentations, NULL))
        return broken(path, "augment", error);
    return true;
}

static const json_t *origin_option(const json_t *training, const char *name) {
    const json_t *origin = json_object_get(training, "origin");
    return json_object_get(json_object_get(origin ? origin : training, "options"), name);
}

double recipe_origin(const json_t *training, const char *name, double otherwise) {
    const json_t *value = origin_option(training, name);
    return json_is_number(value) ? json_number_value(value) : otherwise;
}

void recipe_follow(const json_t *training, Settings *settings) {
    const char *name = json_string_value(origin_option(training, "optimizer"));
    const OptimizerRule *rule = name ? optimizer_rule(name) : NULL;
    if (!settings_given(settings, "optimizer")) settings->optimizer = rule ? rule->name : "sgd";
    if (!settings_given(settings, "lr")) settings->lr = recipe_origin(training, "lr", 0.05) / 100;
}
