/* stair train: the float training: a net of the zoo or of a .net file becomes a checkpoint. */
#include "train/command.h"

static int command_train(const Settings *settings, Error *error) {
    (void)settings;
    return error_set(error, ERROR_USAGE, "train is not built into this stair");
}

static const OptionUse options[] = {
    TAKES("model", .required = true, .unless = "resume"),
    TAKES("output", .required = true, .unless = "resume"),
    TAKES("data"),
    TAKES("limit"),
    TAKES("epochs", .whole = true),
    TAKES("batch"),
    TAKES("lr"),
    TAKES("momentum"),
    TAKES("weight-decay"),
    TAKES("nesterov"),
    TAKES("schedule"),
    TAKES("warmup"),
    TAKES("step-size"),
    TAKES("gamma"),
    TAKES("seed"),
    TAKES("threads"),
    TAKES("log"),
    TAKES("resume"),
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
    .examples = "stair train --model lenet --epochs 10 -o float.safetensors\n"
                "stair train --resume float.safetensors --epochs 20\n",
    .run = command_train,
};
