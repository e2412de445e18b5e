/* stair export: a model in a format for others, one of quant/export/exports.def. */
#include "quant/export/export.h"
#include "train/command.h"

/* options that not every format reads */
static const char *const special[] = {"prefix", NULL};

static bool options_fit(const Export *format, const Settings *settings, Error *error) {
    for (int i = 0; special[i]; i++)
        if (settings_given(settings, special[i]) && !export_reads(format, special[i]))
            return error_set(error, ERROR_USAGE, "--%s has no meaning for the format %s",
                             special[i], format->name);
    return true;
}

/* What a format cannot say is told by node; people know the file. */
static bool write_model(Model *model, const char *path, const Export *format,
                        const Settings *settings, ExportReport *report, Error *error) {
    ExportOptions options = {.input = path, .version = STAIR_VERSION, .prefix = settings->prefix};
    Error reason = {0};
    if (format->write(model, settings->output, &options, report, &reason)) return true;
    if (reason.code == ERROR_INPUT)
        return error_set(error, ERROR_INPUT, "%.900s: %.1100s", path, reason.message);
    return error_set(error, reason.code, "%s", reason.message);
}

static int command_export(const Settings *settings, Error *error) {
    const char *path = settings->arguments[1];
    const Export *format = export_find(settings->arguments[0], error);
    if (!format || !options_fit(format, settings, error)) return error->code;
    Model *model = model_load(path, error);
    ExportReport report = {""};
    if (model && model_expect(model, path, format->stages, format->hint, error) &&
        write_model(model, path, format, settings, &report, error) && !settings->quiet)
        fputs(report.text, stderr);
    model_free(model);
    return error->code;
}

static void list_formats(FILE *file) {
    fprintf(file, "\nformats:\n");
    for (int i = 0; export_list[i]; i++)
        fprintf(file, "  %-10s %s\n", export_list[i]->name, export_list[i]->summary);
}

static const OptionUse options[] = {
    TAKES("output", .required = true),
    TAKES("prefix"),
    TAKES_COMMON,
    {0},
};

const Command export_command = {
    .name = "export",
    .summary = "Writes a model in a format for others.",
    .arguments = "FORMAT IN",
    .least = 2,
    .most = 2,
    .options = options,
    .more_help = list_formats,
    .examples = "stair export c int8.safetensors -o model.c\n"
                "stair export c int8.safetensors --prefix shoes -o shoes.c\n"
                "stair export onnx int8.safetensors -o int8.onnx\n",
    .run = command_export,
};
