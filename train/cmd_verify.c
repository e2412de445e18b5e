/* stair verify: fake-quantized evaluation against the integer program, code for code. */
#include "train/command.h"

static int command_verify(const Settings *settings, Error *error) {
    (void)settings;
    return error_set(error, ERROR_USAGE, "verify is not built into this stair");
}

static const OptionUse options[] = {
    TAKES("data"), TAKES("limit"), TAKES("batch"), TAKES("json"), TAKES("threads"), TAKES_COMMON,
    {0},
};

const Command verify_command = {
    .name = "verify",
    .summary = "Compares simulated and integer arithmetic, layer by layer.",
    .arguments = "IN",
    .least = 1,
    .most = 1,
    .options = options,
    .examples = "stair verify qat.safetensors\n"
                "stair verify qat.safetensors --limit 100 --json\n",
    .run = command_verify,
};
