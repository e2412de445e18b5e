/* A PyTorch state_dict as safetensors: names and layouts are those of stair's own files, so this is
 * the loading of a checkpoint. What differs: the net is named beside the file; floats may be of
 * another width; and counters of batches, which nothing computes with, may be missing. One of
 * quantization-aware training holds grids, too (qat_dict.c): it becomes a calibrated model. */
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "nn/safetensors_rules.h"
#include "quant/import/qat_dict.h"
#include "quant/import/reader.h"

/* --- floats of other widths --- */

/* A float of `exponent` and `fraction` bits behind the sign: fraction 2^-fraction, hidden one,
 * bias. */
static float small_float(uint32_t bits, int exponent, int fraction) {
    int bias = (1 << (exponent - 1)) - 1, most = (1 << exponent) - 1;
    int power = (int)(bits >> fraction) & most;
    float part = (float)(bits & ((1u << fraction) - 1));
    float one = (float)(1u << fraction);
    float value = power == most ? (part > 0 ? NAN : INFINITY)
                  : power       ? ldexpf(one + part, power - bias - fraction)
                                : ldexpf(part, 1 - bias - fraction);
    return bits >> (exponent + fraction) & 1 ? -value : value;
}

static float from_f16(const unsigned char *at) {
    return small_float(at[0] | (uint32_t)at[1] << 8, 5, 10);
}
static float from_bf16(const unsigned char *at) {
    return small_float(at[0] | (uint32_t)at[1] << 8, 8, 7);
}
static float from_f64(const unsigned char *at) { /* rounded; too large becomes infinite: refused */
    double value;
    memcpy(&value, at, sizeof value);
    return (float)value;
}

static const struct {
    Dtype dtype;
    float (*read)(const unsigned char *at);
} widths[] = {{DTYPE_F16, from_f16}, {DTYPE_BF16, from_bf16}, {DTYPE_F64, from_f64}};

/* The tensor in float32, if it is of floats of another width; else as it is. */
static SafeTensor widened(const SafeTensor *tensor, Arena *arena) {
    SafeTensor result = *tensor;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        if (tensor->dtype != widths[i].dtype) continue;
        size_t size = (size_t)dtype_bits(tensor->dtype) / 8, count = tensor->bytes / size;
        float *data = arena_alloc(arena, size_mul(count, sizeof *data));
        for (size_t k = 0; k < count; k++)
            data[k] = widths[i].read((const unsigned char *)tensor->data + k * size);
        result.dtype = DTYPE_F32;
        result.data = data;
        result.bytes = count * sizeof *data;
    }
    return result;
}

/* --- the file as the net would have written it --- */

static bool has_array(const SafeTensor *tensor, int count, const char *name) {
    bool found = false;
    for (int i = 0; i < count && !found; i++) found = strcmp(tensor[i].name, name) == 0;
    return found;
}

/* Two names of the file may mean one array of the net. */
static bool named_once(const SafeFile *file, const QuantNet *net, Arena *arena, Error *error) {
    for (int i = 0; i < file->count; i++) {
        const char *name = file->tensor[i].name, *meant = qat_dict_name(net, name, arena);
        if (meant != name && safetensors_find(file, meant))
            return error_set(error, ERROR_INPUT, "%.200s is there twice, once as %.200s", meant,
                             name);
    }
    return true;
}

/* `net` of a file with grids, else NULL. */
static const SafeFile *adapt(const SafeFile *file, const Graph *graph, const QuantNet *net,
                             Arena *arena) {
    static const int64_t never = 0;
    size_t room = (size_t)file->count + (size_t)GRAPH_MAX_NODES * NODE_PARAMS;
    SafeTensor *tensor = arena_alloc(arena, room * sizeof *tensor);
    SafeFile *adapted = arena_zeros(arena, sizeof *adapted);
    for (int i = 0; i < file->count; i++) {
        if (net && qat_dict_part(file->tensor[i].name)) continue;
        SafeTensor *to = &tensor[adapted->count++];
        *to = widened(&file->tensor[i], arena);
        if (net) to->name = (char *)qat_dict_name(net, to->name, arena);
    }
    for (int i = 0; i < graph->nodes; i++)
        for (int p = 0; p < graph->node[i].params; p++) {
            const Param *param = &graph->node[i].param[p];
            char *name = arena_text(arena, "%s.%s", graph->node[i].name, param->name);
            if (param->counter && !has_array(tensor, adapted->count, name))
                tensor[adapted->count++] = (SafeTensor){
                    .name = name, .dtype = DTYPE_I64, .data = &never, .bytes = sizeof never};
        }
    qsort(tensor, (size_t)adapted->count, sizeof *tensor, safe_by_name);
    adapted->tensor = tensor;
    return adapted;
}

/* Another format is refused by safetensors_read, which knows the common ones by name. */
static bool knows(const ImportFile *file) {
    (void)file;
    return true;
}

/* The content of a file that is a state_dict; NULL and the error if it is anything else. */
static const SafeFile *open_dict(const char *path, Arena *arena, Error *error) {
    const SafeFile *content = safetensors_read(arena, path, error);
    if (!content || !safetensors_meta(content, "stair.stage")) return content;
    error_set(error, ERROR_INPUT, "%s is a stair model already: every command takes it as it is",
              path);
    return NULL;
}

static bool fill(Model *model, const SafeFile *content, const char *path, Arena *arena,
                 Error *error) {
    Error reason = {0};
    QuantNet *net = NULL;
    Given given;
    if (qat_dict_is(content)) {
        net = given_net(model->graph, error);
        if (!net) return false;
        if (!named_once(content, net, arena, &reason) ||
            !qat_dict_grids(content, net, arena, &given, &reason))
            return error_set(error, reason.code, "%s: %.500s", path, reason.message);
    }
    const SafeFile *adapted = adapt(content, model->graph, net, arena);
    if (!model_fill(model, adapted, path, error)) return false;
    if (!net || model_give(model, &given, &reason)) return true;
    return error_set(error, reason.code, "%s: %.500s", path, reason.message);
}

static Model *read(const ImportFile *file, Graph *graph, Error *error) {
    Arena *arena = arena_new();
    const SafeFile *content = open_dict(file->path, arena, error);
    if (content && !graph)
        error_set(error, ERROR_USAGE,
                  "%s: a safetensors file holds arrays and no net: name it with --model",
                  file->path);
    Model *model = graph ? model_new(graph, error) : NULL;
    bool ok = model && content && fill(model, content, file->path, arena, error);
    arena_free(arena);
    if (ok) return model;
    model_free(model);
    return NULL;
}

const Reader state_dict_reader = {
    .name = "a safetensors file",
    .knows = knows,
    .read = read,
};
