/* An ONNX file: a net and its weights; in QDQ form with its quantization. */
#include "quant/onnx/read.h"

#include "quant/import/reader.h"

static bool knows(const ImportFile *file) {
    return onnx_knows(file->data, file->size);
}

static Model *read(const ImportFile *file, Graph *graph, Error *error) {
    (void)graph; /* the file has its own */
    Arena *arena = arena_new();
    Error reason = {0};
    int64_t opset;
    const Onnx__ModelProto *proto = onnx_parse(file->data, file->size, arena, &opset, &reason);
    Model *model = proto ? onnx_read_model(proto, opset, file->output, &reason) : NULL;
    if (!model) error_set(error, reason.code, "%s: %.1900s", file->path, reason.message);
    arena_free(arena);
    return model;
}

const Reader onnx_reader = {
    .name = "an ONNX file",
    .carries_net = true,
    .knows = knows,
    .read = read,
};
