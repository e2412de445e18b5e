/* stair predict: the class of single pictures. */
#include <limits.h>

#include "train/command.h"

static int command_predict(const Settings *settings, Error *error) {
    (void)settings;
    return error_set(error, ERROR_USAGE, "predict is not built into this stair");
}

static const OptionUse options[] = {
    TAKES("json"),
    TAKES_COMMON,
    {0},
};

const Command predict_command = {
    .name = "predict",
    .summary = "Tells what pictures show.",
    .arguments = "IN IMAGE...",
    .least = 2,
    .most = INT_MAX,
    .options = options,
    .examples = "stair predict int8.safetensors shoe.png shirt.png\n",
    .run = command_predict,
};
