/* stair finetune: quantization-aware training: a calibrated checkpoint becomes a qat one. */
#include "train/command.h"

static int command_finetune(const Settings *settings, Error *error) {
    (void)settings;
    return error_set(error, ERROR_USAGE, "finetune is not built into this stair");
}

static const OptionUse options[] = {
    TAKES("output", .required = true),
    TAKES("data"),
    TAKES("limit"),
    TAKES("epochs", .shown = "a tenth of the training's"),
    TAKES("batch"),
    TAKES("lr", .shown = "1% of the training's"),
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
    TAKES_COMMON,
    {0},
};

const Command finetune_command = {
    .name = "finetune",
    .summary = "Trains on with quantization simulated (QAT).",
    .arguments = "IN",
    .least = 1,
    .most = 1,
    .options = options,
    .examples =
        "stair finetune calibrated.safetensors -o qat.safetensors\n"
        "stair finetune calibrated.safetensors --epochs 0.5 --lr 0.0002 -o qat.safetensors\n",
    .run = command_finetune,
};
