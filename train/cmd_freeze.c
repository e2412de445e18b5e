/* stair freeze: a calibrated or fine-tuned checkpoint becomes one of integers; with --dynamic a
 * float one does, whose ranges are found while running. Freezing a frozen one writes the same bytes
 * again.
 */
#include "quant/model.h"
#include "train/command.h"

static bool freeze(Model *model, const Settings *settings, Error *error) {
    const char *path = settings->arguments[0];
    unsigned quantized = 1 << STAGE_CALIBRATED | 1 << STAGE_QAT | 1 << STAGE_FROZEN;
    if (settings->dynamic)
        return model_expect(model, path, 1 << STAGE_FLOAT, "--dynamic takes a float one", error) &&
               model_freeze_dynamic(model, !settings->per_tensor, error);
    return model_expect(model, path, quantized,
                        "calibrate it first: stair calibrate (or freeze it with --dynamic)",
                        error) &&
           model_freeze(model, error);
}

static void describe_dynamic(const Model *model, const char *path) {
    size_t weights = 0;
    for (int i = 0; i < model->dynamic->matrices; i++)
        weights += model->dynamic->matrix[i].param->tensor->count;
    fprintf(stderr, "stair: %s: %d matrices of %zu integer weights, ranges are found at run time\n",
            path, model->dynamic->matrices, weights);
}

static void describe_program(const Program *program, const char *path) {
    fprintf(stderr, "stair: %s: %d integer instructions, %zu bytes of scratch an image\n", path,
            program->instrs, program->bytes_per_sample);
}

static int command_freeze(const Settings *settings, Error *error) {
    if (settings->per_tensor && !settings->dynamic)
        return error_set(error, ERROR_USAGE,
                         "--per-tensor: only with --dynamic; else calibrate decides it");
    Model *model = model_load(settings->arguments[0], error);
    Program *program = NULL;
    bool ok = model && freeze(model, settings, error);
    if (ok && !model->dynamic) /* what cannot run is not written */
        ok = (program = model_program(model, error)) != NULL;
    if (ok && model_save(model, settings->output, 0, NULL, error) && !settings->quiet) {
        if (program)
            describe_program(program, settings->output);
        else
            describe_dynamic(model, settings->output);
    }
    program_free(program);
    model_free(model);
    return error->code;
}

static const OptionUse options[] = {
    TAKES("output", .required = true), TAKES("dynamic"), TAKES("per-tensor"), TAKES_COMMON, {0},
};

const Command freeze_command = {
    .name = "freeze",
    .summary = "Turns a net into integers: calibrated, fine-tuned, or a float one dynamically.",
    .arguments = "IN",
    .least = 1,
    .most = 1,
    .options = options,
    .examples = "stair freeze qat.safetensors -o int8.safetensors\n"
                "stair freeze --dynamic float.safetensors -o dynamic.safetensors\n",
    .run = command_freeze,
};
