/* stair calibrate: a float checkpoint becomes a calibrated one. */
#include "train/command.h"

static int command_calibrate(const Settings *settings, Error *error) {
    (void)settings;
    return error_set(error, ERROR_USAGE, "calibrate is not built into this stair");
}

static const OptionUse options[] = {
    TAKES("output", .required = true),
    TAKES("data"),
    TAKES("batch"),
    TAKES("images"),
    TAKES("method"),
    TAKES("percentile"),
    TAKES("bits"),
    TAKES("weight-bits"),
    TAKES("per-tensor"),
    TAKES("per-channel"),
    TAKES("config"),
    TAKES("seed"),
    TAKES("threads"),
    TAKES_COMMON,
    {0},
};

const Command calibrate_command = {
    .name = "calibrate",
    .summary = "Chooses the ranges of all values from some images.",
    .arguments = "IN",
    .least = 1,
    .most = 1,
    .options = options,
    .examples =
        "stair calibrate float.safetensors -o calibrated.safetensors\n"
        "stair calibrate float.safetensors --method entropy --weight-bits 4 -o w4.safetensors\n",
    .run = command_calibrate,
};
