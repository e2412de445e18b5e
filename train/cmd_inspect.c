/* stair inspect: what a file holds: stage, net, parameters, every scale and zero point with its
 * formula, the integer program. */

#include <math.h>

#include "quant/model.h"
#include "quant/pack.h"
#include "train/command.h"
#include "train/json.h"

/* A batchnorm or relu, which a layer before it would have taken if nothing else read between. */
static bool could_be_joined(const QNode *q) {
    return node_has_rule(q->node, "fold") || layer_clamps(q->node->layer);
}

/* What became of a node under quantization, in a few words. */
static const char *fate(const Model *model, const Node *node, char *text, size_t size) {
    *text = 0;
    for (int i = 0; model->dynamic && i < model->dynamic->matrices; i++)
        if (model->dynamic->matrix[i].node == node) snprintf(text, size, "dynamic, 8 bits");
    if (!model->quant) return text;
    const QNode *q = &model->quant->node[node->index];
    if (q->into)
        snprintf(text, size, "in %s", q->into->name);
    else if (!q->rule->owns_range)
        snprintf(text, size, "codes of its input");
    else
        snprintf(text, size, "%d bits%s", q->out->spec.bits, could_be_joined(q) ? ", alone" : "");
    return text;
}

/* Bytes of the node's weights in a frozen file; 0: it has none that are quantized. */
static size_t weight_bytes(const Model *model, const Node *node) {
    const QNode *q = model->quant ? &model->quant->node[node->index] : NULL;
    if (!q || q->into || q->simulated || !q->rule->arrays) return 0;
    WeightLayout layout = node_layout(node);
    return pack_bytes(layout.outputs, layout.runs * layout.run, q->weight.bits);
}

static void print_nodes(const Model *model) {
    char shape[SHAPE_TEXT], text[NODE_NAME + 8];
    printf("\n%-12s %-14s %-12s %10s  %s\n", "node", "layer", "result", "parameters",
           model->stage == STAGE_FLOAT ? "" : "quantized");
    for (int i = 0; i < model->graph->nodes; i++) {
        const Node *node = &model->graph->node[i];
        size_t parameters = 0;
        for (int k = 0; k < node->params; k++)
            if (node->param[k].trainable) parameters += node->param[k].tensor->count;
        printf("%-12s %-14s %-12s %10zu  %s", node->name, node->layer->name,
               shape_text(&node->shape, shape), parameters, fate(model, node, text, sizeof text));
        size_t bytes = weight_bytes(model, node);
        if (bytes) printf(", weights %d bits: %zu bytes", model->quant->node[i].weight.bits, bytes);
        printf("\n");
    }
}

static void print_quantizers(const QuantNet *net) {
    printf("\nactivations%s: real = scale * (code - zero)\n"
           "%-12s %5s %14s %6s %6s %6s %14s %14s\n",
           net->config.portable ? ", portable" : "", "value", "bits", "scale", "zero", "least",
           "most", "from", "to");
    for (int i = 0; i < net->quantizers; i++) {
        const Quantizer *quantizer = net->quantizer[i];
        const QParams *q = &quantizer->q;
        printf("%-12s %5d %14.9g %6d %6d %6d %14.6g %14.6g\n", quantizer->name,
               quantizer->spec.bits, (double)q->scale[0], q->zero_point[0], q->qmin, q->qmax,
               (double)dequantize(q, 0, q->qmin), (double)dequantize(q, 0, q->qmax));
    }
    Arena *arena = arena_new();
    printf("\nquantizers:\n%s", quant_text(net, arena));
    arena_free(arena);
}

static void scale_range(const QParams *grid, double *least, double *most) {
    *least = *most = (double)grid->scale[0];
    for (int c = 1; c < grid->channels; c++) {
        *least = fmin(*least, (double)grid->scale[c]);
        *most = fmax(*most, (double)grid->scale[c]);
    }
}

static void print_matrices(const Dynamic *dynamic) {
    printf("\nweights: real = scale * code; the scale of a row of inputs is found at run time\n"
           "%-32s %14s %8s %14s %14s\n",
           "matrix", "size", "scales", "least", "largest");
    for (int i = 0; i < dynamic->matrices; i++) {
        const DynamicMatrix *m = &dynamic->matrix[i];
        char name[NODE_NAME + PARAM_NAME], shape[SHAPE_TEXT];
        double least, most;
        scale_range(&m->grid, &least, &most);
        snprintf(name, sizeof name, "%s.%s", m->node->name, m->param->name);
        printf("%-32s %14s %8d %14.9g %14.9g\n", name, shape_text(&m->param->tensor->shape, shape),
               m->grid.channels, least, most);
    }
}

static json_t *matrices_to_json(const Dynamic *dynamic) {
    json_t *list = json_array();
    for (int i = 0; i < dynamic->matrices; i++) {
        const DynamicMatrix *m = &dynamic->matrix[i];
        double least, most;
        scale_range(&m->grid, &least, &most);
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:i, s:i, s:i, s:f, s:f}", "node", m->node->name, "matrix",
                            m->param->name, "outputs", m->outputs, "depth", m->depth, "scales",
                            m->grid.channels, "least_scale", least, "largest_scale", most));
    }
    return list;
}

static json_t *quantizers_to_json(const QuantNet *net) {
    json_t *list = json_array();
    for (int i = 0; i < net->quantizers; i++) {
        const Quantizer *quantizer = net->quantizer[i];
        const QParams *q = &quantizer->q;
        json_array_append_new(list, json_pack("{s:s, s:i, s:f, s:i, s:i, s:i, s:f, s:f, s:I}",
                                              "name", quantizer->name, "bits", quantizer->spec.bits,
                                              "scale", (double)q->scale[0], "zero_point",
                                              q->zero_point[0], "qmin", q->qmin, "qmax", q->qmax,
                                              "min", (double)quantizer->seen.min, "max",
                                              (double)quantizer->seen.max, "batches",
                                              (json_int_t)quantizer->seen.batches));
    }
    return list;
}

static json_t *nodes_to_json(const Model *model) {
    json_t *list = json_array();
    for (int i = 0; i < model->graph->nodes; i++) {
        const Node *node = &model->graph->node[i];
        json_t *shape = json_array(), *inputs = json_array();
        char text[NODE_NAME + 8];
        for (int d = 0; d < node->shape.rank; d++)
            json_array_append_new(shape, json_integer(node->shape.dim[d]));
        for (int k = 0; k < node->inputs; k++)
            json_array_append_new(inputs, json_string(model->graph->node[node->in[k]].name));
        json_t *json = json_pack("{s:s, s:s, s:o, s:o, s:s}", "name", node->name, "layer",
                                 node->layer->name, "inputs", inputs, "shape", shape, "quantized",
                                 fate(model, node, text, sizeof text));
        size_t bytes = weight_bytes(model, node);
        if (bytes) {
            int bits = model->quant->node[i].weight.bits;
            json_object_set_new(json, "weight_bits", json_integer(bits));
            json_object_set_new(json, "weight_bytes", json_integer((json_int_t)bytes));
        }
        json_array_append_new(list, json);
    }
    return list;
}

static bool print_json(const Model *model, Arena *arena, Error *error) {
    json_t *json =
        json_pack("{s:s, s:s, s:I, s:I, s:s, s:o}", "stage", stage_name(model->stage), "name",
                  model->graph->name, "parameters", (json_int_t)graph_parameters(model->graph),
                  "multiply_adds", (json_int_t)graph_multiply_adds(model->graph, false), "net",
                  graph_text(model->graph, arena), "nodes", nodes_to_json(model));
    json_t *mean = json_array(), *std = json_array();
    for (int c = 0; c < model->pixels.channels; c++) {
        json_array_append_new(mean, json_real((double)model->pixels.mean[c]));
        json_array_append_new(std, json_real((double)model->pixels.std[c]));
    }
    json_object_set_new(json, "input", json_pack("{s:o, s:o}", "mean", mean, "std", std));
    if (model->quant) {
        json_object_set_new(json, "quantization", quant_config_to_json(&model->quant->config));
        json_object_set_new(json, "activations", quantizers_to_json(model->quant));
    }
    if (model->dynamic) json_object_set_new(json, "dynamic", matrices_to_json(model->dynamic));
    if (model->training) json_object_set(json, "training", model->training);
    return json_print(json, error);
}

static bool print_text(Model *model, Arena *arena, Error *error) {
    printf("%s, stage %s, %zu parameters, %zu multiply-adds an image\n", model->graph->name,
           stage_name(model->stage), graph_parameters(model->graph),
           graph_multiply_adds(model->graph, false));
    for (int c = 0; c < model->pixels.channels; c++)
        printf("input channel %d: (pixel / 255 - %.6g) / %.6g\n", c, (double)model->pixels.mean[c],
               (double)model->pixels.std[c]);
    printf("\n%s", graph_text(model->graph, arena));
    print_nodes(model);
    if (model->dynamic) print_matrices(model->dynamic);
    if (!model->quant) return true;
    Error none = {0};
    if (model->stage != STAGE_FROZEN && !quant_freeze(model->quant, error))
        return false; /* shown in the lists */
    print_quantizers(model->quant);
    if (!quant_integral(model->quant, &none)) {
        printf("\nno program: %s\n", none.message);
        return true;
    }
    Program *program = model_program(model, error);
    if (!program) return false;
    printf("\nprogram: %zu bytes of scratch an image\n%s", program->bytes_per_sample,
           program_text(program, arena));
    program_free(program);
    return true;
}

static int command_inspect(const Settings *settings, Error *error) {
    Model *model = model_load(settings->arguments[0], error);
    if (!model) return error->code;
    Arena *arena = arena_new();
    if (settings->json)
        print_json(model, arena, error);
    else
        print_text(model, arena, error);
    arena_free(arena);
    model_free(model);
    return error->code;
}

static const OptionUse options[] = {
    TAKES("json"),
    TAKES_COMMON,
    {0},
};

const Command inspect_command = {
    .name = "inspect",
    .summary = "Prints what a file holds: stage, net, quantization.",
    .arguments = "IN",
    .least = 1,
    .most = 1,
    .options = options,
    .examples = "stair inspect int8.safetensors\n",
    .run = command_inspect,
};
