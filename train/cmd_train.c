/* stair train: the float training: a net of the zoo or of a .net file becomes a checkpoint. */
#include <string.h>

#include "datasets/loader.h"
#include "nn/zoo.h"
#include "train/command.h"
#include "train/loop.h"

/* A new model: random weights, and the normalisation that its training images ask for. */
static Model *begin(const Settings *settings, Error *error) {
    Graph *graph = zoo_open(settings->model, error);
    if (!graph) return NULL;
    graph_init(graph, settings->seed);
    return model_new(graph, error);
}

/* Does --model name the net that the file holds? */
static bool same_net(const Settings *settings, const Model *model, Error *error) {
    if (!settings_given(settings, "model")) return true;
    Graph *named = zoo_open(settings->model, error);
    if (!named) return false;
    Arena *arena = arena_new();
    bool same = strcmp(graph_text(named, arena), graph_text(model->graph, arena)) == 0;
    arena_free(arena);
    graph_free(named);
    return same ||
           error_set(error, ERROR_USAGE, "--model contradicts %s, which holds another net, %s",
                     settings->resume, model->graph->name);
}

static Model *resume(Settings *settings, TrainRun *run, uint32_t *crc, Error *error) {
    Model *model = model_load(settings->resume, error);
    if (!model) return NULL;
    const char *hint = model->stage == STAGE_QAT ? "to go on with it: stair finetune --resume"
                                                 : "it has no training to resume";
    if (model_expect(model, settings->resume, 1 << STAGE_FLOAT, hint, error) &&
        same_net(settings, model, error) &&
        recipe_resume(model->training, run->kind, settings->resume, settings, &run->position, crc,
                      error))
        return model;
    model_free(model);
    return NULL;
}

static int command_train(const Settings *given, Error *error) {
    Settings settings = *given;
    TrainRun run = {.kind = "train", .settings = &settings, .resumed = settings.resume != NULL};
    uint32_t crc = 0;
    Model *model = run.resumed ? resume(&settings, &run, &crc, error) : begin(&settings, error);
    if (!model) return error->code;
    if (!run.resumed && !settings_given(&settings, "lr"))
        settings.lr = optimizer_rule(settings.optimizer)->rate;
    run.model = model;
    run.output = settings.output ? settings.output : settings.resume;
    Dataset *train, *test;
    int status = ERROR_INPUT;
    if (train_data(&run, &train, &test, crc, error)) {
        if (!run.resumed) model->pixels = normalization_of(train);
        status = train_loop(&run, error);
    }
    dataset_free(train);
    dataset_free(test);
    model_free(model);
    return status;
}

static const OptionUse options[] = {
    TAKES("model", .required = true, .unless = "resume"),
    TAKES("output", .required = true, .unless = "resume"),
    TAKES("epochs", .whole = true),
    TAKES("lr", .shown = "0.02, with adamw 0.001"),
    TAKES("optimizer"),
    TAKES("keep"),
    TAKES("rates"),
    TAKES("augment"),
    TAKES("seed"),
    TAKES("log"),
    TAKES("resume"),
    TAKES_TRAINING,
    TAKES_COMMON,
    {0},
};

const Command train_command = {
    .name = "train",
    .summary = "Trains a net in float.",
    .arguments = "",
    .least = 0,
    .most = 0,
    .options = options,
    .examples = "stair train --model netbn --epochs 10 --lr 0.05 -o float.safetensors\n"
                "stair train --model resnet8 --augment flip,shift -o float.safetensors\n"
                "stair train --resume float.safetensors --epochs 20\n",
    .run = command_train,
};
