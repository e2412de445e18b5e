/* stair bench: images per second. */
#include "train/command.h"

static int command_bench(const Settings *settings, Error *error) {
    (void)settings;
    return error_set(error, ERROR_USAGE, "bench is not built into this stair");
}

static const OptionUse options[] = {
    TAKES("model"), TAKES("batch"), TAKES("threads"), TAKES("json"), TAKES_COMMON, {0},
};

const Command bench_command = {
    .name = "bench",
    .summary = "Measures the speed of training or inference.",
    .arguments = "train|infer [IN]",
    .least = 1,
    .most = 2,
    .options = options,
    .examples = "stair bench train --model lenet --batch 64\n"
                "stair bench infer int8.safetensors --batch 1 --threads 1 --json\n",
    .run = command_bench,
};
