/* stair calibrate: a float checkpoint becomes a calibrated one. The net runs in float over some training images, with
 * batchnorm folded, while observers watch every value; then a method chooses the ranges. The file keeps the histograms:
 * calibrating a calibrated file chooses anew, without data. */
#include "autograd/file.h"
#include "autograd/kernels/parallel.h"
#include "autograd/rng.h"
#include "quant/correct.h"
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
typedef struct Picked {
    const Model *model;
    const Dataset *data;
    int images, batch;
    uint32_t *order; /* [data->count]: the first `images` are meant */
} Picked;

static Picked pick_images(const Model *model, const Dataset *data, const Settings *settings, Arena *arena) {
    Picked picked = {model, data, settings->images, settings->batch, NULL};
    if (picked.images > data->count) picked.images = data->count;
    picked.order = arena_alloc(arena, sizeof *picked.order * (size_t)data->count);
    Rng rng = rng_stream(settings->seed, RNG_SHUFFLE, 0);
    rng_permutation(&rng, picked.order, (uint32_t)data->count);
    return picked;
}

/* Batch i, an ImageSource. */
static Tensor *picked_batch(void *context, int i, Tape *tape) {
    const Picked *p = context;
    int64_t first = (int64_t)i * p->batch, left = p->images - first;
    if (left <= 0) return NULL;
    int count = left < p->batch ? (int)left : p->batch;
    size_t bytes = dataset_image_bytes(p->data);
    Tensor *x = tape_tensor(tape, shape_batched(&p->model->graph->node[0].shape, count));
    for (int k = 0; k < count; k++)
        model_images(p->model, p->data, (int)p->order[first + k], 1, x->data + (size_t)k * bytes);
    return x;
}

static bool observe(Model *model, Picked *picked, Error *error) {
    Tape *tape = tape_new(false);
    quant_collect(model->quant);
    quant_observe(model->quant, true);
    Error value = {0};
    Tensor *x;
    for (int i = 0; !value.code && (tape_reset(tape), x = picked_batch(picked, i, tape)); i++)
        graph_forward(model->graph, &(Run){.tape = tape, .error = &value}, x, NULL);
    quant_observe(model->quant, false);
    quant_fake(model->quant, true);
    tape_free(tape);
    return !value.code || error_set(error, ERROR_INPUT, "%s", value.message); /* NaN in the file's net */
}

static void equalize(Model *model, const Settings *settings) {
    int pairs = quant_equalize(model->graph);
    if (!settings->quiet) fprintf(stderr, "stair: %d pairs of layers equalized\n", pairs);
}

static bool prepare_float(Model *model, const Settings *settings, Error *error) {
    QuantConfig config;
    if (!make_config(settings, &config, error)) return false;
    Dataset *data = dataset_open(settings->data, true, 0, error);
    if (!data || !model_fits(model, data, error)) return dataset_free(data), false;
    Arena *arena = arena_new();
    Picked picked = pick_images(model, data, settings, arena);
    if (settings->equalize) equalize(model, settings);
    bool ok = model_quantize(model, &config, error) && observe(model, &picked, error) &&
              quant_select(model->quant, config.method, config.percentile, error) &&
              (!settings->bias_correction ||
               quant_correct_biases(model->quant, picked_batch, &picked, error));
    if (ok && !settings->quiet)
        fprintf(stderr, "stair: %d values calibrated on %d images\n", model->quant->quantizers, picked.images);
    arena_free(arena);
    dataset_free(data);
    return ok;
}

/* A float model is observed; a calibrated one has its histograms and needs no data. */
static bool prepare(Model *model, const char *path, const Settings *settings, Error *error) {
    static const char *const fixed[] = {"images",     "seed",        "bits",   "weight-bits",
                                        "per-tensor", "per-channel", "config", "equalize",
                                        "bias-correction"};
    if (!model_expect(model, path, 1 << STAGE_FLOAT | 1 << STAGE_CALIBRATED,
                      "calibration begins with a float or a calibrated one", error))
        return false;
    if (model->stage == STAGE_FLOAT) return prepare_float(model, settings, error);
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
    TAKES("bias-correction"),
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
                "stair calibrate float.safetensors --weight-bits 4 --equalize --bias-correction -o w4.safetensors\n"
                "stair calibrate calibrated.safetensors --method mse -o mse.safetensors\n"
                "stair calibrate calibrated.safetensors --compare\n",
    .run = command_calibrate,
};
