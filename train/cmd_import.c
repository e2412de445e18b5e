/* stair import: another tool's file becomes a checkpoint. */
#include "autograd/file.h"
#include "quant/import/reader.h"
#include "train/command.h"

static int command_import(const Settings *settings, Error *error) {
    const char *path = settings->arguments[0];
    if (!file_probe(settings->output, error)) return error->code;
    Model *model = model_import(path, settings->model, settings->graph_output, error);
    bool ok =
        model &&
        (!settings->normalize || normalization_parse(settings->normalize, &model->pixels, error)) &&
        model_save(model, settings->output, 0, NULL, error);
    if (ok && !settings->quiet)
        fprintf(stderr, "stair: %s: stage %s, %d nodes, %zu parameters\n", settings->output,
                stage_name(model->stage), model->graph->nodes, graph_parameters(model->graph));
    model_free(model);
    return error->code;
}

static void say_stage(FILE *file) {
    fprintf(file, "\nA file with scales (QAT, or ONNX's QDQ) becomes a calibrated model, else a "
                  "float one.\n");
}

static const OptionUse options[] = {
    TAKES("model"),        TAKES("normalize"),
    TAKES("graph-output"), TAKES("output", .required = true),
    TAKES_COMMON,          {0},
};

const Command import_command = {
    .name = "import",
    .summary = "Makes a checkpoint of PyTorch's weights, QAT or not, or of an ONNX file.",
    .arguments = "FILE",
    .least = 1,
    .most = 1,
    .options = options,
    .more_help = say_stage,
    .examples = "stair import net.onnx --normalize 0.286,0.353 -o float.safetensors\n"
                "stair import several.onnx --graph-output logits -o float.safetensors\n"
                "stair import weights.safetensors --model lenet5 --normalize 0.286,0.353 -o "
                "float.safetensors\n"
                "stair import qat.safetensors --model lenet5 --normalize 0.286,0.353 -o "
                "calibrated.safetensors\n",
    .run = command_import,
};
