/* stair inspect: what a checkpoint says about itself. */
#include "train/command.h"

static int command_inspect(const Settings *settings, Error *error) {
    (void)settings;
    return error_set(error, ERROR_USAGE, "inspect is not built into this stair");
}

static const OptionUse options[] = {
    TAKES("json"),
    TAKES_COMMON,
    {0},
};

const Command inspect_command = {
    .name = "inspect",
    .summary = "Prints what a file holds: stage, net, quantization.",
    .arguments = "IN",
    .least = 1,
    .most = 1,
    .options = options,
    .examples = "stair inspect int8.safetensors\n",
    .run = command_inspect,
};
