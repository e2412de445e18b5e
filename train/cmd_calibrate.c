/* stair calibrate: a float checkpoint becomes a calibrated one. The net runs in float over some
 * training images, with batchnorm folded, while observers watch every value; then a method chooses
 * the ranges. The file keeps the histograms: calibrating a calibrated file chooses anew, without
 * data. */
#include "autograd/file.h"
#include "train/calibration.h"
#include "train/command.h"
#include "train/evaluate.h"
#include "train/json.h"

/* A float model is observed; a calibrated one has its histograms and needs no data. */
static bool prepare(Model *model, const char *path, const Settings *settings, Error *error) {
    static const char *const fixed[] = {
        "images",   "seed",   "bits",     "weight-bits",     "per-tensor", "per-channel",
        "portable", "config", "equalize", "bias-correction", "adaround",   "adaround-steps"};
    if (!model_expect(model, path, 1 << STAGE_FLOAT | 1 << STAGE_CALIBRATED,
                      "calibration begins with a float or a calibrated one", error))
        return false;
    if (model->stage == STAGE_FLOAT) {
        QuantConfig config;
        Dataset *data = NULL;
        bool ok = calibration_config(settings, &config, error) &&
                  (data = dataset_open(settings->data, true, 0, error)) &&
                  calibrate_model(model, &config, data, settings, error);
        dataset_free(data);
        return ok;
    }
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (settings_given(settings, fixed[i]))
            return error_set(error, ERROR_USAGE,
                             "--%s: %s is calibrated; only its ranges can be chosen anew", fixed[i],
                             path);
    if (settings_given(settings, "batch") && !settings->compare)
        return error_set(error, ERROR_USAGE, "--batch: %s is calibrated; no image is looked at",
                         path);
    return quant_select(model->quant, method_find(settings->method), settings->percentile, error) &&
           calibration_percentile(settings, &model->quant->config, error);
}

/* Ranges of another tool's file have none: methods have nothing to choose from. */
static bool have_histograms(const QuantNet *net, Error *error) {
    for (int i = 0; i < net->quantizers; i++)
        if (!net->quantizer[i]->seen.histogram)
            return error_set(error, ERROR_INPUT,
                             "%s: its range was given, there is no histogram from which methods "
                             "could choose others: calibrate the float model",
                             net->quantizer[i]->name);
    return true;
}

/* Test accuracy with the ranges of each method, from the same histograms. */
static bool compare_methods(Model *model, const Settings *settings, Error *error) {
    if (!have_histograms(model->quant, error)) return false;
    Dataset *test = dataset_open(settings->data, false, 0, error);
    const Method *chosen = model->quant->config.method;
    double percentile = model->quant->config.percentile;
    bool ok = test && model_fits(model, test, error);
    if (ok && !settings->json) printf("%-16s %9s\n", "method", "accuracy");
    json_t *table = json_object();
    for (int i = 0; ok && method_list[i]; i++) {
        Evaluation result;
        Engine *engine = NULL;
        ok = quant_select(model->quant, method_list[i], percentile, error) &&
             (engine = engine_open(model, settings->batch, NULL, error)) &&
             evaluate(engine, test, settings->batch, NULL, NULL, &result, error);
        engine_close(engine);
        if (ok && settings->json)
            json_object_set_new(table, method_list[i]->name, json_real(result.accuracy));
        if (ok && !settings->json) printf("%-16s %9.4f\n", method_list[i]->name, result.accuracy);
    }
    if (ok && settings->json) ok = json_print(json_incref(table), error);
    json_decref(table);
    dataset_free(test);
    return ok && quant_select(model->quant, chosen, percentile, error);
}

/* The ranges themselves are what `stair inspect --json` prints. */
static bool print_summary(const Model *model, Error *error) {
    const QuantNet *quant = model->quant;
    return json_print(json_pack("{s:s, s:s, s:i}", "stage", stage_name(model->stage), "method",
                                quant->config.method->name, "values", quant->quantizers),
                      error);
}

static int command_calibrate(const Settings *settings, Error *error) {
    const char *path = settings->arguments[0];
    if (!settings->output && !settings->compare)
        return error_set(error, ERROR_USAGE, "calibrate needs -o OUT, or --compare");
    bool rounds = settings->adaround || settings->bias_correction; /* by that method's ranges */
    if (settings_given(settings, "method") && !settings->output && !rounds)
        return error_set(error, ERROR_USAGE, "--method: --compare tries all of them");
    Model *model = model_load(path, error);
    bool ok =
        model && (!settings->output || file_probe(settings->output, error)) &&
        prepare(model, path, settings, error) &&
        quant_freeze(model->quant, error) && /* what cannot be frozen is refused here already */
        (!settings->compare || compare_methods(model, settings, error));
    ok = ok && (!settings->output || model_save(model, settings->output, 0, NULL, error));
    if (ok && settings->json && !settings->compare) print_summary(model, error);
    model_free(model);
    return error->code;
}

static const OptionUse options[] = {
    TAKES("output"),     TAKES("data"),
    TAKES("batch"),      TAKES("images"),
    TAKES("method"),     TAKES("percentile"),
    TAKES("equalize"),   TAKES("bias-correction"),
    TAKES("adaround"),   TAKES("adaround-steps"),
    TAKES("compare"),    TAKES("json"),
    TAKES("bits"),       TAKES("weight-bits"),
    TAKES("per-tensor"), TAKES("per-channel"),
    TAKES("portable"),   TAKES("config"),
    TAKES("seed"),       TAKES("threads"),
    TAKES_COMMON,        {0},
};

const Command calibrate_command = {
    .name = "calibrate",
    .summary = "Chooses the ranges of all values from some images.",
    .arguments = "IN",
    .least = 1,
    .most = 1,
    .options = options,
    .examples = "stair calibrate float.safetensors -o calibrated.safetensors\n"
                "stair calibrate float.safetensors --bits 4 --weight-bits 4 -o w4a4.safetensors\n"
                "stair calibrate float.safetensors --weight-bits 4 --equalize --bias-correction -o "
                "w4.safetensors\n"
                "stair calibrate float.safetensors --weight-bits 3 --adaround -o w3.safetensors\n"
                "stair calibrate calibrated.safetensors --method mse -o mse.safetensors\n"
                "stair calibrate calibrated.safetensors --compare\n",
    .run = command_calibrate,
};
