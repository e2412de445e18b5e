#include "train/calibration.h"

#include <stdio.h>

#include "autograd/rng.h"
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
    if (settings->per_channel) config->weight.per_channel = true;
    if (settings->per_tensor) config->weight.per_channel = false;
    return true;
}

/* The images that are looked at: a random sample of the training set, a function of the seed. */
static void pick_images(const Dataset *data, uint64_t seed, int count, uint32_t *picked,
                        Arena *arena) {
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
    char *floats = quant_floats(model->quant, arena);
    if (!value.code && floats) fprintf(stderr, "stair: these layers stay float: %s\n", floats);
    tape_free(tape);
    arena_free(arena);
    if (value.code)
        return error_set(error, ERROR_INPUT, "%s", value.message); /* NaN in the file's net */
    if (!settings->quiet)
        fprintf(stderr, "stair: %d values calibrated on %d images\n", model->quant->quantizers,
                images);
    return true;
}

bool calibrate_model(Model *model, const QuantConfig *config, const Dataset *data,
                     const Settings *settings, Error *error) {
    return model_fits(model, data, error) && model_quantize(model, config, error) &&
           observe(model, data, settings, error) &&
           quant_select(model->quant, config->method, config->percentile, error);
}
