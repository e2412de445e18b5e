/* stair eval: the accuracy of a checkpoint on a labelled data set. */
#include "train/command.h"

static int command_eval(const Settings *settings, Error *error) {
    (void)settings;
    return error_set(error, ERROR_USAGE, "eval is not built into this stair");
}

static const OptionUse options[] = {
    TAKES("data"),    TAKES("split"),       TAKES("limit"),
    TAKES("batch"),   TAKES("predictions"), TAKES("json"),
    TAKES("threads"), TAKES_COMMON,         {0},
};

const Command eval_command = {
    .name = "eval",
    .summary = "Measures accuracy, with the engine of the file's stage.",
    .arguments = "IN",
    .least = 1,
    .most = 1,
    .options = options,
    .examples = "stair eval int8.safetensors\n"
                "stair eval int8.safetensors --predictions int8.csv --json\n",
    .run = command_eval,
};
