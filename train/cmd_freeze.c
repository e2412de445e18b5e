/* stair freeze: a calibrated or fine-tuned checkpoint becomes one of integers. Freezing a frozen
 * one writes the same bytes again. */
#include "quant/model.h"
#include "train/command.h"

static int command_freeze(const Settings *settings, Error *error) {
    const char *path = settings->arguments[0];
    Model *model = model_load(path, error);
    if (!model) return error->code;
    unsigned quantized = 1 << STAGE_CALIBRATED | 1 << STAGE_QAT | 1 << STAGE_FROZEN;
    bool ok = model_expect(model, path, quantized, "calibrate it first: stair calibrate", error) &&
              model_freeze(model, error);
    Program *program = ok ? model_program(model, error) : NULL; /* what cannot run is not written */
    if (program && model_save(model, settings->output, 0, NULL, error) && !settings->quiet)
        fprintf(stderr, "stair: %s: %d integer instructions, %zu bytes of scratch an image\n",
                settings->output, program->instrs, program->bytes_per_sample);
    program_free(program);
    model_free(model);
    return error->code;
}

static const OptionUse options[] = {
    TAKES("output", .required = true),
    TAKES_COMMON,
    {0},
};

const Command freeze_command = {
    .name = "freeze",
    .summary = "Turns a calibrated or fine-tuned net into integers.",
    .arguments = "IN",
    .least = 1,
    .most = 1,
    .options = options,
    .examples = "stair freeze qat.safetensors -o int8.safetensors\n",
    .run = command_freeze,
};
