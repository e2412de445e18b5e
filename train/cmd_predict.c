/* stair predict: the class of single pictures, with the engine of the file's stage. */
#include <limits.h>
#include <math.h>
#include <string.h>

#include "datasets/image.h"
#include "train/command.h"
#include "train/engine.h"
#include "train/json.h"

/* The share of the best class: its softmax. */
static double confidence(const float *logits, int count) {
    float top = logits[argmax(logits, count)];
    double sum = 0;
    for (int i = 0; i < count; i++) sum += exp((double)(logits[i] - top));
    return 1 / sum;
}

static json_t *result_to_json(const char *path, const float *logits, int count, const char *story) {
    json_t *values = json_array(), *name = json_string(path);
    for (int i = 0; i < count; i++) json_array_append_new(values, json_number((double)logits[i]));
    return json_pack("{s:o, s:i, s:f, s:o, s:s}", "image", name ? name : json_null(), "predicted",
                     argmax(logits, count), "confidence", confidence(logits, count), "logits",
                     values, "preparation", story);
}

/* One picture becomes a data set of one image. */
static bool predict(Engine *engine, const char *path, float *logits, json_t *results,
                    Error *error) {
    const Model *model = engine_model(engine);
    const Shape *input = &model->graph->node[0].shape;
    char text[SHAPE_TEXT];
    if (input->rank != 3)
        return error_set(error, ERROR_INPUT,
                         "%s takes no pictures: its input is %s, not channels x height x width",
                         model->graph->name, shape_text(input, text));
    Arena *arena = arena_new();
    Image image = {0};
    uint8_t label = 0;
    char story[IMAGE_STORY];
    Dataset one = {
        .count = 1, .channels = input->dim[0], .height = input->dim[1], .width = input->dim[2]};
    one.labels = &label;
    one.pixels = arena_alloc(arena, shape_count(input));
    bool ok =
        image_open(path, &image, error) &&
        image_fit(&image, one.channels, one.height, one.width, true, one.pixels, story, error) &&
        engine_run(engine, &one, 0, 1, logits, error);
    int count = model_outputs(model);
    if (ok && results)
        json_array_append_new(results, result_to_json(path, logits, count, story));
    else if (ok)
        printf("%s: %d (%.1f%%)%s%s\n", path, argmax(logits, count),
               100 * confidence(logits, count), *story ? "  " : "", story);
    image_free(&image);
    arena_free(arena);
    return ok;
}

static int command_predict(const Settings *settings, Error *error) {
    Model *model = model_load(settings->arguments[0], error);
    Engine *engine = model ? engine_open(model, 1, NULL, error) : NULL;
    json_t *results = settings->json ? json_array() : NULL;
    if (engine) {
        Arena *arena = arena_new();
        float *logits = arena_alloc(arena, sizeof(float) * (size_t)model_outputs(model));
        bool ok = true;
        for (int i = 1; ok && i < settings->argument_count; i++)
            ok = predict(engine, settings->arguments[i], logits, results, error);
        if (ok && results)
            json_print(json_pack("{s:s, s:s, s:O}", "stage", stage_name(model->stage), "engine",
                                 engine_name(engine), "images", results),
                       error);
        arena_free(arena);
    }
    json_decref(results);
    engine_close(engine);
    model_free(model);
    return error->code;
}

static const OptionUse options[] = {
    TAKES("json"),
    TAKES_COMMON,
    {0},
};

const Command predict_command = {
    .name = "predict",
    .summary = "Tells what pictures show.",
    .arguments = "IN IMAGE...",
    .least = 2,
    .most = INT_MAX,
    .options = options,
    .examples = "stair predict int8.safetensors shoe.png shirt.png\n",
    .run = command_predict,
};
