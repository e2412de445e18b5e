/* What the walk knows so far: values by their names, faults, and the nodes of the net. */
#include "quant/onnx/read.h"

#include <search.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* --- faults --- */

void onnx_fault(OnnxReader *reader, const Onnx__NodeProto *node, const char *format, ...) {
    enum { SHOWN = 16 };
    char reason[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    reader->fault_count++;
    if (reader->fault_count > SHOWN + 1) return;
    reader->faults = reader->fault_count <= SHOWN
                         ? arena_text(reader->arena, "%s\n  %.80s (%.40s): %s", reader->faults,
                                      onnx_label(node), node->op_type ? node->op_type : "?", reason)
                         : arena_text(reader->arena, "%s\n  ...", reader->faults);
}

/* --- values --- */

OnnxValue *onnx_value_named(const OnnxReader *reader, const char *name) {
    ENTRY *found;
    ENTRY wanted = {.key = (char *)name};
    return hsearch_r(wanted, FIND, &found, reader->names) ? found->data : NULL;
}

OnnxValue *onnx_value(const OnnxReader *reader, const Onnx__NodeProto *node, size_t k) {
    bool given = k < node->n_input && *node->input[k];
    return given ? onnx_value_named(reader, node->input[k]) : NULL;
}

OnnxValue *onnx_wanted(const OnnxReader *reader, const Onnx__NodeProto *node, size_t k) {
    OnnxValue *value =
        k < node->n_output && *node->output[k] ? onnx_value_named(reader, node->output[k]) : NULL;
    return value && value->readers ? value : NULL;
}

const OnnxConstant *onnx_known(OnnxReader *reader, const Onnx__NodeProto *node, size_t k) {
    OnnxValue *value = onnx_value(reader, node, k);
    if (!value) return NULL;
    if (value->tensor && !value->constant)
        value->constant = onnx_constant(value->tensor, reader->arena);
    return value->constant;
}

bool onnx_is_padded(const OnnxValue *value) {
    bool any = false;
    for (int d = 0; d < SPATIAL; d++) any |= value->before[d] || value->after[d];
    return any;
}

static int real_of(OnnxReader *reader, const Onnx__NodeProto *node, size_t k, bool padded) {
    const OnnxValue *value = onnx_value(reader, node, k);
    if (!value || value->tensor || value->constant || value->codes)
        onnx_fault(reader, node, "its input %zu is %s", k,
                   !value         ? "missing"
                   : value->codes ? "in codes: nothing dequantizes it"
                                  : "a constant");
    else if (value->node >= 0 && value->axes && !reader->axes)
        onnx_fault(reader, node,
                   onnx_is_single(value) ? "its input %zu is one number a sample, [%s]"
                                         : "its input %zu has its dimensions in the order %s",
                   k, value->axes);
    else if (value->node >= 0 && !padded && onnx_is_padded(value))
        onnx_fault(reader, node, "it reads a padded value");
    else
        return value->node;
    return -1;
}

int onnx_real(OnnxReader *reader, const Onnx__NodeProto *node, size_t k) {
    return real_of(reader, node, k, false);
}

int onnx_padded(OnnxReader *reader, const Onnx__NodeProto *node) {
    return real_of(reader, node, 0, true);
}

static OnnxValue *made(const OnnxReader *reader, const Onnx__NodeProto *node) {
    return onnx_value_named(reader, node->output[0]);
}

void onnx_makes(OnnxReader *reader, const Onnx__NodeProto *node, int index) {
    OnnxValue *value = made(reader, node);
    if (!value) return; /* a recurrent layer may give where it ends alone */
    value->node = index;
    value->axes = reader->axes;
}

bool onnx_is_single(const OnnxValue *value) {
    return value->axes && strcmp(value->axes, "N") == 0;
}

void onnx_makes_single(OnnxReader *reader, const Onnx__NodeProto *node, int index) {
    onnx_makes(reader, node, index);
    if (reader->net->node[index].shape.rank > 1 &&
        !onnx_add(reader, node, layer_find("flatten"), NULL, 1, &index))
        return;
    made(reader, node)->axes = "N";
}

void onnx_makes_known(OnnxReader *reader, const Onnx__NodeProto *node, OnnxConstant *constant) {
    made(reader, node)->constant = constant;
}

void onnx_passes(OnnxReader *reader, const Onnx__NodeProto *node, size_t k) {
    OnnxValue *from = onnx_value(reader, node, k), *to = made(reader, node);
    if (!from) {
        onnx_fault(reader, node, "its input %zu is missing", k);
        return;
    }
    onnx_known(reader, node, k);
    to->constant = from->constant;
    to->node = from->node;
    to->codes = from->codes;
    to->axes = from->axes;
    memcpy(to->before, from->before, sizeof to->before);
    memcpy(to->after, from->after, sizeof to->after);
}

/* --- nodes of the net --- */

Node *onnx_add(OnnxReader *reader, const Onnx__NodeProto *node, const Layer *layer,
               const void *spec, int inputs, const int in[]) {
    char name[NODE_NAME];
    Error reason = {0};
    onnx_name_node(reader, node, name);
    Node *added = graph_add(reader->net, name, layer, spec, inputs, in, &reason);
    if (!added)
        onnx_fault(reader, node, "%.250s", reason.message);
    else
        onnx_makes(reader, node, added->index);
    return added;
}
