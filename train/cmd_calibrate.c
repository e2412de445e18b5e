/* stair calibrate: a float checkpoint becomes a calibrated one. The net runs in float over some training images, with
 * batchnorm folded, while observers watch the range of every value. */
#include "autograd/file.h"
#include "autograd/kernels/parallel.h"
#include "autograd/rng.h"
#include "train/command.h"
#include "train/engine.h"

/* --config: JSON as `stair inspect --json` shows it under "quantization"; what it leaves out keeps its default. */
static bool read_config(const char *path, QuantConfig *config, Error *error) {
    enum { CONFIG_BYTES = 1 << 20 };
    Arena *arena = arena_new();
    unsigned char *text;
    size_t size;
    json_error_t place;
    json_t *json = NULL;
    Error reason = {0};
    bool ok = file_read(arena, path, CONFIG_BYTES, &text, &size, error);
    if (ok) {
        json = json_loadb((const char *)text, size, JSON_REJECT_DUPLICATES, &place);
        ok = json || error_set(error, ERROR_INPUT, "%s:%d:%d: %s", path, place.line, place.column, place.text);
    }
    if (ok && !quant_config_from_json(json, config, &reason))
        ok = error_set(error, ERROR_INPUT, "%s: %s", path, reason.message);
    json_decref(json);
    arena_free(arena);
    return ok;
}

/* What was said on the command line goes before the file, and the file before the defaults. */
static bool make_config(const Settings *settings, QuantConfig *config, Error *error) {
    *config = quant_config_default();
    if (settings->config && !read_config(settings->config, config, error)) return false;
    bool file = settings->config != NULL;
    if (!file || settings_given(settings, "method")) config->observer = observer_find(settings->method);
    if (!file || settings_given(settings, "bits")) config->activation.bits = settings->bits;
    if (!file || settings_given(settings, "weight-bits")) config->weight.bits = settings->weight_bits;
    if (settings->per_tensor || settings->per_channel) config->weight.per_channel = settings->per_channel;
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

static int command_calibrate(const Settings *settings, Error *error) {
    const char *path = settings->arguments[0];
    QuantConfig config;
    Model *model = make_config(settings, &config, error) ? model_load(path, error) : NULL;
    Dataset *data = NULL;
    const char *hint = "calibration begins with a float one";
    bool ok = model && model_expect(model, path, 1 << STAGE_FLOAT, hint, error) &&
              file_probe(settings->output, error) &&
              (data = dataset_open(settings->data, true, 0, error)) && model_fits(model, data, error) &&
              model_quantize(model, &config, error) && observe(model, data, settings, error) &&
              quant_freeze(model->quant, error); /* a net that cannot be frozen is refused here already */
    if (ok) model_save(model, settings->output, 0, NULL, error);
    dataset_free(data);
    model_free(model);
    return error->code;
}

static const OptionUse options[] = {
    TAKES("output", .required = true),
    TAKES("data"),
    TAKES("batch"),
    TAKES("images"),
    TAKES("method"),
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
                "stair calibrate float.safetensors --bits 4 --weight-bits 4 -o w4a4.safetensors\n",
    .run = command_calibrate,
};
