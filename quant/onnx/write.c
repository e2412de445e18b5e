#include "quant/onnx/write.h"

#include <string.h>

void onnx_inputs(const OnnxWriter *writer, const Node *node, const char *in[LAYER_MAX_INPUTS]) {
    for (int k = 0; k < node->inputs; k++) in[k] = writer->value[node->in[k]];
}

void onnx_layer(const OnnxWriter *writer, const Node *node, const char *const in[], int params,
                const char *const param[], const char *out) {
    const OnnxGraph *graph = &writer->graph;
    const OnnxOp *op = onnx_op_of(node->layer);
    if (op->write) {
        op->write(graph, node, in, out);
        return;
    }
    Onnx__NodeProto *to = onnx_node(graph, op->op_type, node->name, node->inputs, in, out);
    for (int p = 0; p < params; p++) onnx_node_input(graph, to, param[p]);
    onnx_attributes(graph, op, node, to);
}

void onnx_float_layer(const OnnxWriter *writer, const Node *node, const char *const in[],
                      const char *out) {
    const OnnxOp *op = onnx_op_of(node->layer);
    const char *param[ONNX_PARAMS];
    int params = 0;
    for (; op->param[params]; params++) {
        const Tensor *tensor = node_tensor(node, op->param[params]);
        if (!tensor) break; /* no bias */
        char *name = arena_text(writer->graph.arena, "%s.%s", node->name, op->param[params]);
        param[params] = onnx_floats(&writer->graph, name, &tensor->shape, tensor->data);
    }
    onnx_layer(writer, node, in, params, param, out);
}

static void write_float(OnnxWriter *writer) {
    for (int i = 0; i < writer->net->nodes; i++) {
        const Node *node = &writer->net->node[i];
        const char *in[LAYER_MAX_INPUTS];
        onnx_inputs(writer, node, in);
        bool plain = onnx_op_of(node->layer)->op_type != NULL;
        writer->value[i] = plain || node->inputs == 0 ? node->name : in[0];
        if (plain) onnx_float_layer(writer, node, in, node->name);
    }
}

static bool write_graph(OnnxWriter *writer, const Model *model, Error *error) {
    const Graph *net = writer->net;
    const OnnxGraph *graph = &writer->graph;
    for (int i = 0; i < net->nodes; i++)
        if (!onnx_op_of(net->node[i].layer)) /* a program may have layers of its own */
            return error_set(error, ERROR_INPUT, "%s: %s layers have no operator in ONNX",
                             net->node[i].name, net->node[i].layer->name);
    onnx_input(graph, net->node[0].name, &net->node[0].shape);
    if (!model->quant)
        write_float(writer);
    else if (!onnx_write_quantized(writer, model->quant, error))
        return false;
    const Node *last = graph_output(net);
    const char *output = writer->value[last->index];
    if (strcmp(output, net->node[0].name) ==
        0) { /* a net that does nothing: an output is no input */
        onnx_node(graph, "Identity", last->name, 1, &output, last->name);
        output = last->name;
    }
    onnx_output(graph, output, &last->shape);
    return onnx_names_differ(graph, error);
}

static Onnx__ModelProto *wrap(const OnnxGraph *graph, const Model *model, const char *version) {
    Arena *arena = graph->arena;
    Onnx__OperatorSetIdProto *opset = arena_alloc(arena, sizeof *opset);
    onnx__operator_set_id_proto__init(opset);
    opset->domain = arena_text(arena, "%s", "");
    opset->has_version = true;
    opset->version = ONNX_OPSET;
    Onnx__StringStringEntryProto *input = arena_alloc(arena, sizeof *input);
    onnx__string_string_entry_proto__init(input);
    input->key = arena_text(arena, "%s", MODEL_INPUT);
    input->value = model_input_text(model, arena);

    Onnx__ModelProto *proto = arena_alloc(arena, sizeof *proto);
    onnx__model_proto__init(proto);
    proto->has_ir_version = true;
    proto->ir_version = ONNX_IR_VERSION;
    proto->producer_name = arena_text(arena, "%s", "stair");
    proto->producer_version = arena_text(arena, "%s", version);
    proto->graph = graph->proto;
    proto->n_opset_import = proto->n_metadata_props = 1;
    proto->opset_import = arena_alloc(arena, sizeof opset);
    proto->opset_import[0] = opset;
    proto->metadata_props = arena_alloc(arena, sizeof input);
    proto->metadata_props[0] = input;
    return proto;
}

Onnx__ModelProto *onnx_model(Model *model, const char *version, Arena *arena, Error *error) {
    if (!model_has_grids(model, model->graph->name, error)) return NULL;
    if (model->quant && model->stage != STAGE_FROZEN && !quant_freeze(model->quant, error))
        return NULL;
    OnnxWriter writer = {.graph = onnx_graph(arena, arena_text(arena, "%s", model->graph->name)),
                         .net = model->graph};
    return write_graph(&writer, model, error) ? wrap(&writer.graph, model, version) : NULL;
}
