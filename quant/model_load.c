/* Reading a model's file: what a file of its stage must hold is known from its metadata, and the
 * file is held against that list before anything is taken from it. */
#include <string.h>

#include "quant/given.h"
#include "quant/model_arrays.h"
#include "quant/rules/weighted.h"

#define OPTIMIZER "optimizer."

static bool same_shape(const SafeTensor *tensor, const Shape *shape) {
    if (tensor->rank != shape->rank) return false;
    for (int i = 0; i < shape->rank; i++)
        if (tensor->dim[i] != shape->dim[i]) return false;
    return true;
}

/* The faults of a file, all of them, as one text. */
typedef struct Faults {
    Arena *arena;
    char *text;
    int count;
} Faults;

static void add_fault(Faults *faults, const char *text) {
    enum { SHOWN = 16 };
    faults->count++;
    if (faults->count <= SHOWN)
        faults->text = arena_text(faults->arena, "%s\n  %s", faults->text, text);
    if (faults->count == SHOWN + 1)
        faults->text = arena_text(faults->arena, "%s\n  ...", faults->text);
}

static void compare_slot(Faults *faults, const SafeFile *file, const Slot *slot) {
    const SafeTensor *tensor = safetensors_find(file, slot->name);
    char want[SHAPE_TEXT], have[SHAPE_TEXT];
    shape_text(&slot->shape, want);
    if (!tensor) {
        add_fault(faults, arena_text(faults->arena, "%s is missing (%s %s)", slot->name,
                                     dtype_name(slot->dtype), want));
        return;
    }
    Shape shape = {.rank = tensor->rank};
    for (int i = 0; i < tensor->rank; i++) shape.dim[i] = (int)tensor->dim[i];
    if (tensor->dtype != slot->dtype || !same_shape(tensor, &slot->shape))
        add_fault(faults, arena_text(faults->arena, "%s is %s %s, expected %s %s%s", slot->name,
                                     dtype_name(tensor->dtype), shape_text(&shape, have),
                                     dtype_name(slot->dtype), want,
                                     slot->bits ? " (packed: freeze the net again)" : ""));
}

static bool is_slot(const Slots *slots, const char *name) {
    for (int i = 0; i < slots->count; i++)
        if (strcmp(slots->slot[i].name, name) == 0) return true;
    return strncmp(name, OPTIMIZER, strlen(OPTIMIZER)) == 0;
}

/* `net` is how the message calls the net. */
static bool compare_file(const SafeFile *file, const Slots *slots, const char *path,
                         const char *net, Error *error) {
    Faults faults = {slots->arena, arena_text(slots->arena, "%s", ""), 0};
    for (int i = 0; i < slots->count; i++) compare_slot(&faults, file, &slots->slot[i]);
    for (int i = 0; i < file->count; i++)
        if (!is_slot(slots, file->tensor[i].name))
            add_fault(&faults,
                      arena_text(slots->arena, "%s is not of this net", file->tensor[i].name));
    if (!faults.count) return true;
    return error_set(error, ERROR_INPUT, "%s: %d tensor%s do%s not fit %s:%s", path, faults.count,
                     faults.count == 1 ? "" : "s", faults.count == 1 ? "es" : "", net, faults.text);
}

/* The metadata says of packed arrays what the net says. */
static bool compare_packed(const SafeFile *file, const Slots *slots, const char *path,
                           Error *error) {
    const char *text = safetensors_meta(file, MODEL_PACKED);
    json_t *want = slots_packed(slots), *have = text ? json_loads(text, 0, NULL) : NULL;
    bool same = want ? json_equal(want, have) : !text;
    json_decref(want);
    json_decref(have);
    return same || error_set(error, ERROR_INPUT,
                             "%s: stair.packed does not say what the net has for weights", path);
}

static bool fill_slots(const SafeFile *file, const Slots *slots, const char *path, Error *error) {
    for (int i = 0; i < slots->count; i++) {
        const Slot *slot = &slots->slot[i];
        const SafeTensor *tensor = safetensors_find(file, slot->name);
        memcpy(slot->data, tensor->data, tensor->bytes);
        size_t count = shape_count(&slot->shape);
        for (size_t k = 0; slot->sound && k < count; k++)
            if (!slot->sound(slot, k))
                return error_set(
                    error, ERROR_INPUT, "%s: %s: element %zu has a value that cannot be there%s",
                    path, slot->name, k,
                    slot->dtype == DTYPE_F32 ? " (NaN, infinite or out of range)" : "");
    }
    return true;
}

/* The codes that the zero points of a node's weights are among. */
static bool weight_zeros(const QNode *q, Arena *arena, const char *path, Error *error) {
    if (!q->weight_zero) return true;
    QParams codes = weight_codes(arena, q, (int)q->weight_scale->count);
    for (size_t c = 0; c < q->weight_scale->count; c++)
        if (q->weight_zero[c] < codes.qmin || q->weight_zero[c] > codes.qmax)
            return error_set(error, ERROR_INPUT,
                             "%s: %s.weight_fake_quant.zero_point is %d, outside of %d to %d", path,
                             q->node->name, q->weight_zero[c], codes.qmin, codes.qmax);
    return true;
}

/* What the flat arrays cannot say of themselves: counters in memory, ranges and zero points. */
static bool settle(const Model *model, const Slots *slots, const char *path, Error *error) {
    for (int i = 0; i < slots->count; i++)
        if (slots->slot[i].counter)
            *slots->slot[i].counter = (float)*(const int64_t *)slots->slot[i].data;
    for (int i = 0; model->quant && i < model->graph->nodes; i++)
        if (!weight_zeros(&model->quant->node[i], slots->arena, path, error)) return false;
    for (int i = 0; model->quant && i < model->quant->quantizers; i++) {
        Quantizer *quantizer = model->quant->quantizer[i];
        const QParams *q = &quantizer->q;
        if (q->zero_point[0] < q->qmin || q->zero_point[0] > q->qmax)
            return error_set(error, ERROR_INPUT,
                             "%s: %s.activation_post_process.zero_point is %d, outside of %d to %d",
                             path, quantizer->name, q->zero_point[0], q->qmin, q->qmax);
        const Observer *seen = &quantizer->seen;
        if (seen->min > seen->max || seen->average_min > seen->average_max)
            return error_set(error, ERROR_INPUT,
                             "%s: %s.activation_post_process: a range from %g to %g", path,
                             quantizer->name, (double)seen->min, (double)seen->max);
        quantizer->method = model->stage == STAGE_QAT ? method_find("moving-average")
                            : quantizer->spec.method  ? quantizer->spec.method
                                                      : model->quant->config.method;
        quantizer->percentile = model->quant->config.percentile;
        quantizer->ready = model->stage == STAGE_FROZEN || seen->batches > 0;
    }
    return true;
}

static const char *metadata(const SafeFile *file, const char *key, const char *path, Error *error) {
    const char *value = safetensors_meta(file, key);
    if (!value)
        error_set(error, ERROR_INPUT, "%s: no stair model: the metadata lacks %s", path, key);
    return value;
}

static bool read_stage(const SafeFile *file, const char *path, Stage *stage, Error *error) {
    const char *format = metadata(file, "stair.format", path, error);
    const char *name = metadata(file, "stair.stage", path, error);
    if (!format || !name) return false;
    if (strcmp(format, MODEL_FORMAT) != 0)
        return error_set(error, ERROR_INPUT, "%s: format '%.20s', this stair reads " MODEL_FORMAT,
                         path, format);
    for (int i = 0; i < STAGE_COUNT; i++)
        if (strcmp(name, stage_name((Stage)i)) == 0) {
            *stage = (Stage)i;
            return true;
        }
    return error_set(error, ERROR_INPUT, "%s: unknown stage '%.40s'", path, name);
}

static json_t *parse_json(const char *text, const char *key, const char *path, Error *error) {
    json_error_t reason;
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, &reason);
    if (!json) error_set(error, ERROR_INPUT, "%s: %s: %s", path, key, reason.text);
    return json;
}

static bool read_float(const json_t *json, float *value) {
    *value = (float)json_number_value(json);
    return json_is_number(json) && isfinite(*value);
}

static bool pixels_finite(const Normalization *pixels, int c) {
    return isfinite(normalize_byte(0, pixels->mean[c], pixels->std[c])) &&
           isfinite(normalize_byte(255, pixels->mean[c], pixels->std[c]));
}

bool model_input_parse(Model *model, const char *text, const char *path, Error *error) {
    json_t *json = parse_json(text, MODEL_INPUT, path, error);
    if (!json) return false;
    const json_t *mean = json_object_get(json, "mean"), *std = json_object_get(json, "std");
    bool ok = json_array_size(mean) == (size_t)model->pixels.channels &&
              json_array_size(std) == (size_t)model->pixels.channels;
    for (int c = 0; ok && c < model->pixels.channels; c++)
        ok = read_float(json_array_get(mean, (size_t)c), &model->pixels.mean[c]) &&
             read_float(json_array_get(std, (size_t)c), &model->pixels.std[c]) &&
             model->pixels.std[c] > 0 && pixels_finite(&model->pixels, c);
    json_decref(json);
    return ok || error_set(error, ERROR_INPUT,
                           "%s: " MODEL_INPUT ": expected mean and std > 0 of %d channels", path,
                           model->pixels.channels);
}

/* Ranges that came from elsewhere have no histograms. */
static bool has_histograms(const Model *model, const SafeFile *file) {
    const char *first = model->quant->quantizer[0]->name;
    return safetensors_find(file, arena_text(model->arena, "%s.activation_post_process.histogram",
                                             first)) != NULL;
}

/* Weight scales that came from elsewhere are arrays of a calibrated file; others follow from
 * weights. */
static void find_given(Model *model, const SafeFile *file) {
    for (int i = 0; i < model->graph->nodes; i++) {
        QNode *q = &model->quant->node[i];
        const char *name = arena_text(model->arena, "%s.weight_fake_quant.scale", q->node->name);
        if (!q->into && !q->is_float && q->rule->arrays && safetensors_find(file, name))
            quant_give_weights(q, NULL, NULL);
    }
}

static bool read_quant(Model *model, const SafeFile *file, Stage stage, const char *path,
                       Error *error) {
    const char *text = metadata(file, "stair.quant", path, error);
    json_t *json = text ? parse_json(text, "stair.quant", path, error) : NULL;
    if (!json) return false;
    QuantConfig config;
    Error reason = {0};
    bool ok =
        quant_config_from_json(json, &config, &reason) && model_quantize(model, &config, &reason);
    json_decref(json);
    if (!ok) return error_set(error, ERROR_INPUT, "%s: %.500s", path, reason.message);
    model->stage = stage;
    quant_fake(model->quant, true);
    if (stage == STAGE_QAT) quant_learn(model->quant, config.learn);
    if (stage == STAGE_CALIBRATED && has_histograms(model, file)) quant_collect(model->quant);
    if (stage == STAGE_CALIBRATED) find_given(model, file);
    if (stage != STAGE_FROZEN) return true;
    if (!quant_integral(model->quant, &reason))
        return error_set(error, ERROR_INPUT, "%s: %.500s", path, reason.message);
    quant_blank(model->quant);
    return true;
}

static bool read_dynamic(Model *model, const char *word, const char *path, Error *error) {
    bool per_channel = strcmp(word, model_grids[true]) == 0;
    if (!per_channel && strcmp(word, model_grids[false]) != 0)
        return error_set(error, ERROR_INPUT, "%s: " MODEL_DYNAMIC ": '%.40s', expected %s or %s",
                         path, word, model_grids[true], model_grids[false]);
    Error reason = {0};
    model->dynamic = dynamic_new(model->graph, per_channel, &reason);
    model->stage = STAGE_FROZEN;
    return model->dynamic || error_set(error, ERROR_INPUT, "%s: %.500s", path, reason.message);
}

/* Room for what the stage adds to the net. */
static bool read_quantization(Model *model, const SafeFile *file, Stage stage, const char *path,
                              Error *error) {
    const char *word = safetensors_meta(file, MODEL_DYNAMIC);
    if (stage == STAGE_FLOAT) return true;
    return stage == STAGE_FROZEN && word ? read_dynamic(model, word, path, error)
                                         : read_quant(model, file, stage, path, error);
}

/* What remains to be made, and proven, of a frozen net's integers. */
static bool complete(Model *model, Error *error) {
    if (!model->dynamic) return quant_complete(model->quant, error);
    if (!dynamic_complete(model->dynamic, error)) return false;
    dynamic_integers(model->dynamic);
    return true;
}

static bool read_model(Model *model, const SafeFile *file, Stage stage, const char *path,
                       Error *error) {
    const char *input = metadata(file, MODEL_INPUT, path, error);
    if (!input || !model_input_parse(model, input, path, error)) return false;
    if (!read_quantization(model, file, stage, path, error)) return false;
    const char *training = safetensors_meta(file, "stair.training");
    if (training && !(model->training = parse_json(training, "stair.training", path, error)))
        return false;
    if (training && !json_is_object(model->training))
        return error_set(error, ERROR_INPUT, "%s: stair.training: expected an object", path);
    const Slots *slots = model_arrays(model, model->arena);
    if (!compare_file(file, slots, path, "the net it carries", error) ||
        !compare_packed(file, slots, path, error) || !fill_slots(file, slots, path, error) ||
        !settle(model, slots, path, error))
        return false;
    Error reason = {0};
    if (stage == STAGE_FROZEN && !complete(model, &reason))
        return error_set(error, ERROR_INPUT, "%s: %.500s", path, reason.message);
    model->file = file;
    return true;
}

bool model_fill(Model *model, const SafeFile *file, const char *path, Error *error) {
    CHECK(model->stage == STAGE_FLOAT, "stage %s", stage_name(model->stage));
    Arena *arena = arena_new();
    const Slots *slots = model_arrays(model, arena);
    bool ok = compare_file(file, slots, path, arena_text(arena, "the net %s", model->graph->name),
                           error) &&
              fill_slots(file, slots, path, error) && settle(model, slots, path, error);
    arena_free(arena);
    return ok;
}

Model *model_load(const char *path, Error *error) {
    Arena *arena = arena_new();
    const SafeFile *file = safetensors_read(arena, path, error);
    Stage stage = STAGE_FLOAT;
    const char *net = NULL;
    if (file && read_stage(file, path, &stage, error))
        net = metadata(file, "stair.net", path, error);
    Graph *graph = NULL;
    if (net) {
        const char *source = arena_text(arena, "%s: stair.net", path);
        graph = graph_parse(net, strlen(net), source, error);
    }
    Error reason = {0};
    Model *model = graph ? model_new(graph, &reason) : NULL;
    if (!model) {
        if (reason.code) error_set(error, reason.code, "%s: %.500s", path, reason.message);
        arena_free(arena);
        return NULL;
    }
    const char *name = safetensors_meta(file, "stair.name");
    graph_rename(graph, name ? name : "net");
    model->kept = arena;
    if (!read_model(model, file, stage, path, error)) {
        model_free(model);
        return NULL;
    }
    return model;
}

bool model_fetch(const Model *model, const ModelArray *array, Error *error) {
    const SafeTensor *tensor = model->file ? safetensors_find(model->file, array->name) : NULL;
    size_t bytes = shape_count(&array->shape) * sizeof(float);
    if (!tensor || tensor->dtype != DTYPE_F32 || !same_shape(tensor, &array->shape))
        return error_set(error, ERROR_INPUT, "%s is missing or of another size", array->name);
    memcpy(array->data, tensor->data, bytes);
    return floats_finite(array->data, bytes / sizeof(float)) ||
           error_set(error, ERROR_INPUT, "%s holds NaN or infinity", array->name);
}
