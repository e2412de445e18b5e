/* A model's life: stages and what leads from one to the next. Its file is model_file.c. */
#include "quant/model.h"

static const struct {
    const char *name, *engine;
} stages[] = {
#define X(id, name, engine) {name, engine},
    STAGE_LIST(X)
#undef X
};

const char *stage_name(Stage stage) {
    return stages[stage].name;
}
const char *stage_engine(Stage stage) {
    return stages[stage].engine;
}

Model *model_new(Graph *graph, Error *error) {
    int channels = graph->node[0].shape.dim[0];
    if (channels > NORMALIZATION_CHANNELS) {
        error_set(error, ERROR_INPUT,
                  "%s: an input of %d channels, at most %d, as pixels have (a line of an image is "
                  "none: 1x784, not 28x28)",
                  graph->name, channels, NORMALIZATION_CHANNELS);
        graph_free(graph);
        return NULL;
    }
    Arena *arena = arena_new();
    Model *model = arena_zeros(arena, sizeof *model);
    *model = (Model){.arena = arena, .graph = graph, .pixels.channels = channels};
    for (int c = 0; c < channels; c++) model->pixels.std[c] = 1;
    return model;
}

void model_free(Model *model) {
    if (!model) return;
    quant_release(model->quant);
    dynamic_free(model->dynamic);
    graph_free(model->graph);
    json_decref(model->training);
    arena_free(model->kept);
    arena_free(model->arena);
}

bool model_expect(const Model *model, const char *path, unsigned wanted, const char *hint,
                  Error *error) {
    if (wanted >> model->stage & 1) return true;
    return error_set(error, ERROR_INPUT, "%s: the model is in stage %s; %s", path,
                     stage_name(model->stage), hint);
}

bool model_has_grids(const Model *model, const char *name, Error *error) {
    return !model->dynamic ||
           error_set(error, ERROR_INPUT,
                     "%s is quantized dynamically: ranges are found while running, values have no "
                     "grids; begin with the float model",
                     name);
}

bool model_quantize(Model *model, const QuantConfig *config, Error *error) {
    CHECK(model->stage == STAGE_FLOAT, "stage %s", stage_name(model->stage));
    model->quant = quant_prepare(model->graph, config, error);
    if (!model->quant) return false;
    model->stage = STAGE_CALIBRATED;
    return true;
}

bool model_freeze(Model *model, Error *error) {
    CHECK(model->stage != STAGE_FLOAT, "a float model has no ranges to freeze with");
    if (model->stage == STAGE_FROZEN) return true;
    if (!quant_integral(model->quant, error) || !quant_freeze(model->quant, error)) return false;
    model->stage = STAGE_FROZEN;
    return true;
}

bool model_freeze_dynamic(Model *model, bool per_channel, Error *error) {
    CHECK(model->stage == STAGE_FLOAT, "stage %s", stage_name(model->stage));
    Dynamic *dynamic = dynamic_new(model->graph, per_channel, error);
    if (!dynamic || !dynamic_quantize(dynamic, error) || !dynamic_complete(dynamic, error)) {
        dynamic_free(dynamic);
        return false;
    }
    model->dynamic = dynamic;
    model->stage = STAGE_FROZEN;
    dynamic_integers(dynamic);
    return true;
}

Program *model_program(Model *model, Error *error) {
    CHECK(model->quant, "%s has no ranges", model->graph->name);
    if (!quant_integral(model->quant, error)) return NULL;
    if (model->stage != STAGE_FROZEN && !quant_freeze(model->quant, error)) return NULL;
    return program_build(model->quant, &model->pixels, error);
}
