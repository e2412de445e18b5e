/* stair eval: the accuracy of a checkpoint on a labelled data set, with the engine of its stage. */
#include <string.h>

#include "train/command.h"
#include "train/evaluate.h"
#include "train/json.h"

static bool report(const Settings *settings, const Model *model, const Engine *engine,
                   const Evaluation *result, Error *error) {
    if (!settings->json) {
        printf("%s (%s): %d of %d correct, accuracy %.4f, %.0f images/s\n",
               stage_name(model->stage), engine_name(engine), result->correct, result->images,
               result->accuracy, result->images_per_second);
        return true;
    }
    json_t *json = json_pack("{s:s, s:s, s:i, s:i, s:f, s:o}", "stage", stage_name(model->stage),
                             "engine", engine_name(engine), "images", result->images, "correct",
                             result->correct, "accuracy", result->accuracy, "images_per_second",
                             json_number(result->images_per_second));
    return json_print(json, error);
}

/* Turns the layers of --disable-quant to float; without the option nothing happens. */
static bool disable(Model *model, const Settings *settings, Error *error) {
    char name[NODE_NAME];
    if (!settings->disable_quant) return true;
    unsigned grids = 1 << STAGE_CALIBRATED | 1 << STAGE_QAT;
    if (!model_expect(model, settings->arguments[0], grids,
                      "--disable-quant is for calibrated and fine-tuned ones", error))
        return false;
    for (const char *word = settings->disable_quant; word;
         word = strchr(word, ',') ? strchr(word, ',') + 1 : NULL) {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(word, ","), word);
        Error reason = {0};
        if (!quant_switch(model->quant, name, false, &reason))
            return error_set(error, ERROR_USAGE, "--disable-quant: %s", reason.message);
    }
    return true;
}

static int command_eval(const Settings *settings, Error *error) {
    Model *model = model_load(settings->arguments[0], error);
    Dataset *data = NULL;
    Engine *engine = NULL;
    Evaluation result;
    bool ok = model && disable(model, settings, error) &&
              (data = dataset_open(settings->data, strcmp(settings->split, "train") == 0,
                                   settings->limit, error)) &&
              model_fits(model, data, error) &&
              (engine = engine_open(model, settings->batch, NULL, error));
    if (ok && settings->predictions)
        ok = evaluate_to_csv(engine, data, settings->batch, settings->predictions, &result, error);
    else if (ok)
        ok = evaluate(engine, data, settings->batch, NULL, NULL, &result, error);
    if (ok) report(settings, model, engine, &result, error);
    engine_close(engine);
    dataset_free(data);
    model_free(model);
    return error->code;
}

static const OptionUse options[] = {
    TAKES("data"), TAKES("split"),   TAKES("limit"),         TAKES("batch"), TAKES("predictions"),
    TAKES("json"), TAKES("threads"), TAKES("disable-quant"), TAKES_COMMON,   {0},
};

const Command eval_command = {
    .name = "eval",
    .summary = "Measures accuracy, with the engine of the file's stage.",
    .arguments = "IN",
    .least = 1,
    .most = 1,
    .options = options,
    .examples = "stair eval int8.safetensors\n"
                "stair eval int8.safetensors --predictions int8.csv --json\n"
                "stair eval calibrated.safetensors --disable-quant conv1,fc\n",
    .run = command_eval,
};
