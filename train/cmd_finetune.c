/* stair finetune: quantization-aware training: a calibrated checkpoint becomes a qat one. The
 * recipe is the sources': a tenth of the training's epochs, a hundredth of its learning rate, half
 * a cosine down to a hundredth of that. */
#include <math.h>

#include "quant/bn.h"
#include "quant/given.h"
#include "train/command.h"
#include "train/loop.h"

static void fill_defaults(Settings *settings, const json_t *training) {
    if (!settings_given(settings, "epochs"))
        settings->epochs = fmax(1, recipe_origin(training, "epochs", 10) / 10);
    recipe_follow(training, settings);
}

static bool begin(TrainRun *run, Settings *settings, uint32_t *crc, Error *error) {
    Model *model = run->model;
    const char *path = run->resumed ? settings->resume : settings->arguments[0];
    unsigned stages = run->resumed ? 1 << STAGE_QAT : 1 << STAGE_CALIBRATED | 1 << STAGE_QAT;
    const char *hint = model->stage == STAGE_FLOAT ? "calibrate it first: stair calibrate"
                       : model->stage == STAGE_FROZEN
                           ? "its float weights are gone; take the file that was frozen"
                           : "it has no fine-tuning to resume";
    if (!model_expect(model, path, stages, hint, error)) return false;
    if (run->resumed)
        return recipe_resume(model->training, run->kind, path, settings, &run->position, crc,
                             error);
    fill_defaults(settings, model->training);
    return true;
}

/* Modes of batch normalisation are refused where they would change nothing. */
static bool bn_options_matter(const QuantNet *quant, const Settings *settings, Error *error) {
    bool frozen = quant->config.bn == &bn_mode_list[0], any = false;
    for (int i = 0; i < quant->graph->nodes; i++) any |= quant->node[i].batchnorm != NULL;
    if (settings_given(settings, "freeze-bn-after") && frozen)
        return error_set(error, ERROR_USAGE, "--freeze-bn-after says nothing with --bn %s",
                         settings->bn);
    if (settings_given(settings, "bn") && !frozen && !any)
        return error_set(error, ERROR_USAGE, "--bn %s: %s has no batchnorm", settings->bn,
                         quant->graph->name);
    return true;
}

/* The model's configuration with the options over it, and the other way round: what was not said is
 * as it was. */
static bool choose_modes(const TrainRun *run, Settings *settings, Error *error) {
    QuantNet *quant = run->model->quant;
    QuantConfig *config = &quant->config;
    if (!settings->ste) settings->ste = ste_names[config->ste];
    if (!settings->bn) settings->bn = config->bn->name;
    if (!settings->learn_ranges)
        settings->learn_ranges = settings->fixed_scales ? "none" : config->learn->name;
    const Learn *learn = learn_find(settings->learn_ranges);
    config->bn = bn_mode_find(settings->bn);
    if (!learn || !config->bn || !ste_find(settings->ste, &config->ste))
        return error_set(error, ERROR_INPUT,
                         "%s: a mode of fine-tuning that this stair does not know", run->output);
    if (quant->learned && learn != config->learn)
        return error_set(error, ERROR_USAGE, "--%s: the ranges of %s are parameters already (%s)",
                         settings->fixed_scales ? "fixed-scales" : "learn-ranges",
                         run->resumed ? settings->resume : settings->arguments[0],
                         config->learn->name);
    if (!bn_options_matter(quant, settings, error)) return false;
    if (!quant->learned) {
        quant_forget_given(quant);
        quant_learn(quant, learn);
        quant_learn_start(quant);
    }
    return true;
}

/* The float training that all this came from, for the file; a new reference or NULL. */
static json_t *origin_of(const json_t *training) {
    json_t *origin = json_object_get(training, "origin");
    return json_deep_copy(origin ? origin : training);
}

static int command_finetune(const Settings *given, Error *error) {
    Settings settings = *given;
    TrainRun run = {.kind = "finetune", .settings = &settings, .final_fraction = 0.01};
    run.resumed = settings.resume != NULL;
    if (run.resumed == (settings.argument_count == 1))
        return error_set(error, ERROR_USAGE, "finetune takes IN or --resume FILE, one of the two"),
               ERROR_USAGE;
    Model *model = model_load(run.resumed ? settings.resume : settings.arguments[0], error);
    if (!model) return error->code;
    run.model = model;
    run.output = settings.output ? settings.output : settings.resume;
    uint32_t crc = 0;
    Dataset *train = NULL, *test = NULL;
    json_t *origin = origin_of(model->training);
    run.origin = origin;
    int status = ERROR_INPUT;
    if (begin(&run, &settings, &crc, error) && choose_modes(&run, &settings, error) &&
        train_data(&run, &train, &test, crc, error)) {
        if (model->stage == STAGE_CALIBRATED) {
            model->stage = STAGE_QAT;
            quant_track(model->quant);
        }
        status = train_loop(&run, error);
    }
    json_decref(origin);
    dataset_free(train);
    dataset_free(test);
    model_free(model);
    return status;
}

static const OptionUse options[] = {
    TAKES("output", .required = true, .unless = "resume"),
    TAKES("epochs", .shown = "a tenth of the training's"),
    TAKES("lr", .shown = "1% of the training's"),
    TAKES("optimizer", .shown = "the training's"),
    TAKES("keep"),
    TAKES("rates"),
    TAKES("augment"),
    TAKES("seed"),
    TAKES("learn-ranges"),
    TAKES("ste"),
    TAKES("bn"),
    TAKES("freeze-bn-after"),
    TAKES("freeze-observers-after"),
    TAKES("fixed-scales"),
    TAKES("log"),
    TAKES("resume"),
    TAKES_TRAINING,
    TAKES_COMMON,
    {0},
};

const Command finetune_command = {
    .name = "finetune",
    .summary = "Trains on with quantization simulated (QAT).",
    .arguments = "[IN]",
    .least = 0,
    .most = 1,
    .options = options,
    .examples =
        "stair finetune calibrated.safetensors -o qat.safetensors\n"
        "stair finetune calibrated.safetensors --epochs 0.5 --lr 0.0002 -o qat.safetensors\n",
    .run = command_finetune,
};
