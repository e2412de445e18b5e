/* stair freeze: a calibrated or qat checkpoint becomes a frozen one. */
#include "train/command.h"

static int command_freeze(const Settings *settings, Error *error) {
    (void)settings;
    return error_set(error, ERROR_USAGE, "freeze is not built into this stair");
}

static const OptionUse options[] = {
    TAKES("output", .required = true),
    TAKES_COMMON,
    {0},
};

const Command freeze_command = {
    .name = "freeze",
    .summary = "Turns a calibrated or fine-tuned net into an integer program.",
    .arguments = "IN",
    .least = 1,
    .most = 1,
    .options = options,
    .examples = "stair freeze qat.safetensors -o int8.safetensors\n",
    .run = command_freeze,
};
