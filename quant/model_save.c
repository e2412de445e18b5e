/* Writing a model's file: one walk lists the arrays of the stage, metadata says all else. */
#include <stdlib.h>

#include "quant/model_arrays.h"

static SafeTensor safe_tensor(const char *name, Dtype dtype, const Shape *shape, const void *data) {
    SafeTensor tensor = {.name = name, .dtype = dtype, .rank = shape->rank, .data = data};
    for (int i = 0; i < shape->rank; i++) tensor.dim[i] = shape->dim[i];
    tensor.bytes = shape_count(shape) * (size_t)dtype_bits(dtype) / 8;
    return tensor;
}

/* JSON text owned by the arena; the reference is taken. */
static char *json_text(json_t *json, Arena *arena) {
    char *dump = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    json_decref(json);
    CHECK(dump, "JSON of a model");
    char *text = arena_text(arena, "%s", dump);
    free(dump);
    return text;
}

char *model_input_text(const Model *model, Arena *arena) {
    json_t *mean = json_array(), *std = json_array();
    for (int c = 0; c < model->pixels.channels; c++) {
        json_array_append_new(mean, json_real((double)model->pixels.mean[c]));
        json_array_append_new(std, json_real((double)model->pixels.std[c]));
    }
    return json_text(json_pack("{s:o, s:o}", "mean", mean, "std", std), arena);
}

bool model_save(const Model *model, const char *path, int count, const ModelArray array[],
                Error *error) {
    Arena *arena = arena_new();
    const Slots *slots = model_arrays(model, arena);
    SafeTensor *tensor = arena_alloc(arena, sizeof *tensor * (size_t)(slots->count + count));
    for (int i = 0; i < slots->count; i++) {
        const Slot *s = &slots->slot[i];
        tensor[i] = safe_tensor(s->name, s->dtype, &s->shape, s->data);
    }
    for (int i = 0; i < count; i++)
        tensor[slots->count + i] =
            safe_tensor(array[i].name, DTYPE_F32, &array[i].shape, array[i].data);

    SafeMeta meta[9] = {
        {"format", "pt"},
        {"stair.format", MODEL_FORMAT},
        {"stair.stage", stage_name(model->stage)},
        {"stair.name", model->graph->name},
        {"stair.net", graph_text(model->graph, arena)},
        {MODEL_INPUT, model_input_text(model, arena)},
    };
    int metas = 6;
    if (model->quant)
        meta[metas++] = (SafeMeta){"stair.quant",
                                   json_text(quant_config_to_json(&model->quant->config), arena)};
    if (model->dynamic)
        meta[metas++] = (SafeMeta){MODEL_DYNAMIC, model_grids[model->dynamic->per_channel]};
    json_t *packed = slots_packed(slots);
    if (packed) meta[metas++] = (SafeMeta){MODEL_PACKED, json_text(packed, arena)};
    if (model->training && model->stage != STAGE_FROZEN)
        meta[metas++] =
            (SafeMeta){"stair.training", json_text(json_incref(model->training), arena)};
    bool ok =
        safetensors_write(path, &(SafeFile){slots->count + count, tensor, metas, meta}, error);
    arena_free(arena);
    return ok;
}
