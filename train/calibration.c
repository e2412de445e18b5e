#include "train/calibration.h"

#include <stdio.h>

#include "autograd/rng.h"
#include "quant/ptq/correct.h"
#include "quant/ptq/equalize.h"
#include "train/adaround.h"
#include "train/engine.h"

bool calibration_config(const Settings *settings, QuantConfig *config, Error *error) {
    *config = quant_config_default();
    if (settings->config && !quant_config_read(settings->config, config, error)) return false;
    bool file = settings->config != NULL;
    if (!file || settings_given(settings, "method")) config->method = method_find(settings->method);
    if (!file || settings_given(settings, "percentile")) config->percentile = settings->percentile;
    const IntList *bits = &settings->bits,
                  *weight_bits = &settings->weight_bits; /* empty: a command without default */
    if (bits->count && (!file || settings_given(settings, "bits")))
        config->activation.bits = bits->value[0];
    if (weight_bits->count && (!file || settings_given(settings, "weight-bits")))
        config->weight.bits = weight_bits->value[0];
    if (settings->portable) config->portable = true;
    if (settings->per_channel) config->weight.per_channel = true;
    if (settings->per_tensor) config->weight.per_channel = false;
    return calibration_percentile(settings, config, error);
}

bool calibration_percentile(const Settings *settings, const QuantConfig *config, Error *error) {
    return !settings_given(settings, "percentile") || settings->compare /* tries all methods */ ||
           quant_config_uses(config, method_find("percentile")) ||
           error_set(error, ERROR_USAGE,
                     "--percentile says nothing without --method percentile: no range goes by it");
}

/* The images that are looked at: a random sample of the training set, a function of the seed. */
typedef struct Picked {
    const Model *model;
    const Dataset *data;
    int images, batch;
    uint32_t *order; /* [data->count]: the first `images` are meant */
} Picked;

static Picked pick_images(const Model *model, const Dataset *data, const Settings *settings,
                          Arena *arena) {
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
    return !value.code ||
           error_set(error, ERROR_INPUT, "%s", value.message); /* NaN in the file's net */
}

static void tell(const Model *model, const Picked *picked, const Settings *settings, Arena *arena) {
    char *floats = quant_floats(model->quant, arena);
    if (floats) fprintf(stderr, "stair: these layers stay float: %s\n", floats);
    if (!settings->quiet)
        fprintf(stderr, "stair: %d values calibrated on %d images\n", model->quant->quantizers,
                picked->images);
}

static void equalize(Model *model, const Settings *settings) {
    int pairs = quant_equalize(model->graph);
    if (!settings->quiet) fprintf(stderr, "stair: %d pairs of layers equalized\n", pairs);
}

bool calibrate_model(Model *model, const QuantConfig *config, const Dataset *data,
                     const Settings *settings, Error *error) {
    if (!model_fits(model, data, error)) return false;
    Arena *arena = arena_new();
    Picked picked = pick_images(model, data, settings, arena);
    if (settings->equalize) equalize(model, settings);
    bool ok = model_quantize(model, config, error) && observe(model, &picked, error) &&
              quant_select(model->quant, config->method, config->percentile, error) &&
              (!settings->bias_correction ||
               quant_correct_biases(model->quant, picked_batch, &picked, error));
    AdaRoundSpec spec = {settings->adaround_steps, settings->seed, settings->quiet ? NULL : stderr};
    if (ok && settings->adaround) ok = adaround(model->quant, picked_batch, &picked, &spec, error);
    if (ok) tell(model, &picked, settings, arena);
    arena_free(arena);
    return ok;
}
