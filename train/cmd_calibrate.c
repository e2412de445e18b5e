/* stair calibrate: a float checkpoint becomes a calibrated one. The net runs in float over some training images, with
 * batchnorm folded, while observers watch every value; then a method chooses the ranges. The file keeps the histograms:
 * calibrating a calibrated file chooses anew, without data. */
#include "autograd/file.h"
#include "autograd/kernels/parallel.h"
#include "autograd/rng.h"
#include "quant/equalize.h"
#include "train/command.h"
#include "train/evaluate.h"
#include "train/json.h"

/* The configuration file, if there is one, and over it the options that were given. */
static bool make_config(const Settings *settings, QuantConfig *config, Error *error) {
    *config = quant_config_default();
    if (settings->config && !quant_config_read(settings->config, config, error)) return false;
    bool file = settings->config != NULL;
    if (!file || settings_given(settings, "method")) config->method = method_find(settings->method);
    if (!file || settings_given(settings, "percentile")) config->percentile = settings->percentile;
    if (!file || settings_given(settings, "bits")) config->activation.bits = settings->bits;
    if (!file || settings_given(settings, "weight-bits")) config->weight.bits = settings->weight_bits;
    if (settings->per_channel) config->weight.per_channel = true;
    if (settings->per_tensor) config->weight.per_channel = false;
    return true;
}

/* The images that are looked at: a random sample of the training set, a function of the seed. */
static void pick_images(const Dataset *data, uint64_t seed, int count, uint32_t *picked, Arena *arena) {
    uint32_t *order = arena_alloc(arena, sizeof *order * (size_t)data->count);
    Rng rng = rng_stream(seed, RNG_SHUFFLE, 0);
    rng_permutation(&rng, order, (uint32_t)data->count);
    for (int i = 0; i < count; i++) picked[i] = order[i];
}

static bool observe(Model *model, const Dataset *data, const Settings *settings, Error *error) {
    Arena *arena = arena_new();
    Tape *tape = tape_new(false);
    int images = settings->images < data->count ? settings->images : data->count;
    uint32_t *picked = arena_alloc(arena, sizeof *picked * (size_t)images);
    pick_images(data, settings->seed, images, picked, arena);
    quant_collect(model->quant);
    quant_observe(model->quant, true);
    size_t bytes = dataset_image_bytes(data);
    Error value = {0};
    for (int first = 0; first < images && !value.code; first += settings->batch) {
        int count = images - first < settings->batch ? images - first : settings->batch;
        tape_reset(tape);
        Tensor *x = tape_tensor(tape, shape_batched(&model->graph->node[0].shape, count));
        for (int i = 0; i < count; i++)
            model_images(model, data, (int)picked[first + i], 1, x->data + (size_t)i * bytes);
        graph_forward(model->graph, &(Run){.tape = tape, .error = &value}, x, NULL);
    }
    quant_observe(model->quant, false);
    quant_fake(model->quant, true);
    tape_free(tape);
    arena_free(arena);
    if (value.code) return error_set(error, ERROR_INPUT, "%s", value.message); /* NaN in the file's net */
    if (!settings->quiet)
        fprintf(stderr, "stair: %d values calibrated on %d images\n", model->quant->quantizers, images);
    return true;
}

static void equalize(Model *model, const Settings *settings) {
    int pairs = quant_equalize(model->graph);
    if (!settings->quiet) fprintf(stderr, "stair: %d pairs of layers equalized\n", pairs);
}

/* A float model is observed; a calibrated one has its histograms and needs no data. */
static bool prepare(Model *model, const char *path, const Settings *settings, Error *error) {
    static const char *const fixed[] = {"images", "seed", "bits", "weight-bits", "per-tensor", "per-channel", "config", "equalize"};
    QuantConfig config;
    if (!model_expect(model, path, 1 << STAGE_FLOAT | 1 << STAGE_CALIBRATED,
                      "calibration begins with a float or a calibrated one", error))
        return false;
    if (model->stage == STAGE_FLOAT) {
        Dataset *data = make_config(settings, &config, error) ? dataset_open(settings->data, true, 0, error) : NULL;
        if (settings->equalize) equalize(model, settings);
        bool ok = data && model_fits(model, data, error) && model_quantize(model, &config, error) &&
                  observe(model, data, settings, error);
        dataset_free(data);
        return ok && quant_select(model->quant, config.method, config.percentile, error);
    }
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (settings_given(settings, fixed[i]))
            return error_set(error, ERROR_USAGE, "--%s: %s is calibrated; only its ranges can be chosen anew", fixed[i],
                             path);
    return quant_select(model->quant, method_find(settings->method), settings->percentile, error);
}

/* Test accuracy with the ranges of each method, from the same histograms. */
static bool compare_methods(Model *model, const Settings *settings, Error *error) {
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
        if (ok && settings->json) json_object_set_new(table, method_list[i]->name, json_real(result.accuracy));
        if (ok && !settings->json) printf("%-16s %9.4f\n", method_list[i]->name, result.accuracy);
    }
    if (ok && settings->json) ok = json_print(json_incref(table), error);
    json_decref(table);
    dataset_free(test);
    return ok && quant_select(model->quant, chosen, percentile, error);
}

static int command_calibrate(const Settings *settings, Error *error) {
    const char *path = settings->arguments[0];
    if (!settings->output && !settings->compare)
        return error_set(error, ERROR_USAGE, "calibrate needs -o OUT, or --compare");
    Model *model = model_load(path, error);
    bool ok = model && (!settings->output || file_probe(settings->output, error)) &&
              prepare(model, path, settings, error) &&
              quant_freeze(model->quant, error) && /* what cannot be frozen is refused here already */
              (!settings->compare || compare_methods(model, settings, error));
    if (ok && settings->output) model_save(model, settings->output, 0, NULL, error);
    model_free(model);
    return error->code;
}

static const OptionUse options[] = {
    TAKES("output"),
    TAKES("data"),
    TAKES("batch"),
    TAKES("images"),
    TAKES("method"),
    TAKES("percentile"),
    TAKES("equalize"),
    TAKES("compare"),
    TAKES("json"),
    TAKES("bits"),
    TAKES("weight-bits"),
    TAKES("per-tensor"),
    TAKES("per-channel"),
    TAKES("config"),
    TAKES("seed"),
    TAKES("threads"),
    TAKES_COMMON,
    {0},
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
                "stair calibrate float.safetensors --equalize --per-tensor -o equalized.safetensors\n"
                "stair calibrate calibrated.safetensors --method mse -o mse.safetensors\n"
                "stair calibrate calibrated.safetensors --compare\n",
    .run = command_calibrate,
};
