/* export onnx: a net as an ONNX file; quantized ones in QDQ form. */
#include <stdio.h>

#include "autograd/file.h"
#include "quant/export/export.h"
#include "quant/onnx/write.h"

static bool write_file(const Onnx__ModelProto *proto, Arena *arena, const char *path,
                       Error *error) {
    size_t bytes = onnx__model_proto__get_packed_size(proto);
    uint8_t *data = arena_alloc(arena, bytes);
    onnx__model_proto__pack(proto, data);
    return file_save(path, data, bytes, error);
}

static void tell(const Model *model, const Onnx__ModelProto *proto, const char *path,
                 ExportReport *report) {
    snprintf(report->text, sizeof report->text,
             "stair: %s: %zu nodes, opset %d, %s; the input is a normalised image, mean and std "
             "are in its metadata\n",
             path, proto->graph->n_node, ONNX_OPSET,
             model->quant ? "integers in QDQ form" : "float");
}

static bool write(Model *model, const char *path, const ExportOptions *options,
                  ExportReport *report, Error *error) {
    Arena *arena = arena_new();
    Onnx__ModelProto *proto = onnx_model(model, options->version, arena, error);
    bool ok = proto && write_file(proto, arena, path, error);
    if (ok) tell(model, proto, path, report);
    arena_free(arena);
    return ok;
}

const Export onnx_export = {
    .name = "onnx",
    .summary = "ONNX, opset 13: float, or once calibrated with integers in QDQ form",
    .stages = 1 << STAGE_FLOAT | 1 << STAGE_CALIBRATED | 1 << STAGE_QAT | 1 << STAGE_FROZEN,
    .write = write,
};
