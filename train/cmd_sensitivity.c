/* stair sensitivity: quantizes one layer at a time, and all but one: which layer's rounding costs
 * accuracy, and which layer should have more bits. --write-config searches bits for each layer
 * within a budget. */
#include <string.h>

#include "autograd/file.h"
#include "train/calibration.h"
#include "train/command.h"
#include "train/json.h"
#include "train/mixed.h"

static void print_layer(const LayerCost *layer) {
    char weight_bits[12] = "-";
    if (layer->weighted) snprintf(weight_bits, sizeof weight_bits, "%d", layer->weight_bits);
    printf("%-12s %5d %7s %10.4f %9.2f %9.2f %10.4f %9.2f\n", layer->name, layer->bits, weight_bits,
           layer->only_accuracy, layer->only_sqnr, layer->value_sqnr, layer->but_accuracy,
           layer->but_sqnr);
    fflush(stdout);
}

static void print_head(void) {
    printf("%-12s %5s %7s %10s %9s %9s %10s %9s\n", "", "", "", "only this", "quantized", "",
           "all but", "this");
    printf("%-12s %5s %7s %10s %9s %9s %10s %9s\n", "layer", "bits", "weights", "accuracy",
           "SQNR dB", "own dB", "accuracy", "SQNR dB");
}

/* Among layers that could have more bits. */
static const LayerCost *most_sensitive(const MixedStudy *study) {
    const LayerCost *worst = NULL;
    for (int i = 0; i < study->layers; i++) {
        const LayerCost *layer = &study->layer[i];
        if (!worst || layer->only_sqnr < worst->only_sqnr) worst = layer;
    }
    return worst;
}

static json_t *layer_to_json(const LayerCost *layer) {
    return json_pack("{s:s, s:i, s:o, s:I, s:{s:f, s:f, s:f}, s:{s:f, s:f}}", "name", layer->name,
                     "bits", layer->bits, "weight_bits",
                     layer->weighted ? json_integer(layer->weight_bits) : json_null(), "weights",
                     (json_int_t)layer->weights, "only", "accuracy", layer->only_accuracy, "sqnr",
                     layer->only_sqnr, "value_sqnr", layer->value_sqnr, "all_but", "accuracy",
                     layer->but_accuracy, "sqnr", layer->but_sqnr);
}

static bool report(const MixedStudy *study, const Settings *settings, Error *error) {
    const LayerCost *worst = most_sensitive(study);
    if (!settings->json) {
        printf("%-12s %5s %7s %10.4f %9.2f\n", "all", "", "", study->all_accuracy, study->all_sqnr);
        printf("float %.4f; %s needs bits most: alone it leaves %.2f dB at the output\n",
               study->float_accuracy, worst->name, worst->only_sqnr);
        return true;
    }
    json_t *layers = json_array();
    for (int i = 0; i < study->layers; i++)
        json_array_append_new(layers, layer_to_json(&study->layer[i]));
    json_t *json =
        json_pack("{s:i, s:f, s:{s:f, s:f}, s:s, s:o}", "images", study->data->count, "float",
                  study->float_accuracy, "all", "accuracy", study->all_accuracy, "sqnr",
                  study->all_sqnr, "most_sensitive", worst->name, "layers", layers);
    return json_print(json, error);
}

static bool search(MixedStudy *study, const Settings *settings, Error *error) {
    MixedBudget budget = {.drop = settings_given(settings, "drop") ? settings->drop
                                  : settings->size                 ? -1
                                                                   : 0.01,
                          .bytes = settings->size};
    if (!mixed_search(study, &budget, error)) return false;
    QuantConfig config = mixed_config(study);
    if (!json_save(quant_config_to_json(&config), settings->write_config, error)) return false;
    if (settings->quiet) return true;
    fprintf(stderr, "stair: %s: accuracy %.4f (float %.4f), %lld bytes of weights;",
            settings->write_config, study->all_accuracy, study->float_accuracy,
            (long long)mixed_bytes(study));
    for (int i = 0; i < study->layers; i++) {
        const LayerCost *layer = &study->layer[i];
        fprintf(stderr, layer->weighted ? " %s %d/%d" : " %s %d", layer->name, layer->bits,
                layer->weight_bits);
    }
    fprintf(stderr, "\n");
    return true;
}

/* A float model is calibrated first, in memory. */
static bool calibrated(Model *model, const Settings *settings, Error *error) {
    QuantConfig config;
    if (!model_expect(model, settings->arguments[0], 1 << STAGE_FLOAT | 1 << STAGE_CALIBRATED,
                      "sensitivity looks at a float or a calibrated one", error))
        return false;
    static const char *const fixed[] = {"config", "images", "seed", "method", "percentile"};
    for (size_t i = 0; model->stage == STAGE_CALIBRATED && i < sizeof fixed / sizeof *fixed; i++)
        if (settings_given(settings, fixed[i]))
            return error_set(error, ERROR_USAGE, "--%s: %s is calibrated", fixed[i],
                             settings->arguments[0]);
    if (model->stage == STAGE_CALIBRATED) return true;
    Dataset *data = calibration_config(settings, &config, error)
                        ? dataset_open(settings->data, true, 0, error)
                        : NULL;
    bool ok = data && calibrate_model(model, &config, data, settings, error);
    dataset_free(data);
    return ok;
}

static int command_sensitivity(const Settings *settings, Error *error) {
    Model *model = model_load(settings->arguments[0], error);
    Dataset *data = NULL;
    MixedStudy study;
    int bits = settings_given(settings, "bits") ? settings->bits.value[0] : 0;
    int weight_bits = settings_given(settings, "weight-bits") ? settings->weight_bits.value[0] : 0;
    bool ok = model && (!settings->write_config || file_probe(settings->write_config, error)) &&
              calibrated(model, settings, error) &&
              (data = dataset_open(settings->data, strcmp(settings->split, "train") == 0,
                                   settings->limit, error)) &&
              model_fits(model, data, error) &&
              mixed_start(&study, model, data, settings->batch, bits, weight_bits, error);
    if (ok && !settings->json) print_head();
    ok = ok && mixed_measure(&study, settings->json ? NULL : print_layer, error) &&
         report(&study, settings, error);
    if (ok && settings->write_config) search(&study, settings, error);
    dataset_free(data);
    model_free(model);
    return error->code;
}

static const OptionUse options[] = {
    TAKES("data"),
    TAKES("split", .fallback = "train"),
    TAKES("limit", .fallback = "1000"),
    TAKES("batch"),
    TAKES("bits", .shown = "the file's; 8 for a float one"),
    TAKES("weight-bits", .shown = "the file's; 8 for a float one"),
    TAKES("write-config"),
    TAKES("drop"),
    TAKES("size"),
    TAKES("config"),
    TAKES("images"),
    TAKES("method"),
    TAKES("percentile"),
    TAKES("seed"),
    TAKES("json"),
    TAKES("threads"),
    TAKES_COMMON,
    {0},
};

const Command sensitivity_command = {
    .name = "sensitivity",
    .summary = "Tells which layers need more bits, one layer at a time.",
    .arguments = "IN",
    .least = 1,
    .most = 1,
    .options = options,
    .examples = "stair sensitivity calibrated.safetensors --bits 4 --weight-bits 4\n"
                "stair sensitivity float.safetensors --bits 3 --weight-bits 3 --drop 0.005 "
                "--write-config mixed.json\n",
    .run = command_sensitivity,
};
