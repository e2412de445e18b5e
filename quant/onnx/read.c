/* The walk: values, what matters; the net that comes of it. */
#include "quant/onnx/read.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/onnx/recurrent.h"

/* --- the graph --- */

static bool add_value(OnnxReader *reader, const char *name, const Onnx__TensorProto *tensor,
                      int maker, Error *error) {
    if (onnx_value_named(reader, name))
        return error_set(error, ERROR_INPUT, "two values are called %.100s", name);
    OnnxValue *value = &reader->value[reader->values++];
    *value = (OnnxValue){.name = name, .tensor = tensor, .node = -1, .maker = maker};
    ENTRY *entry;
    hsearch_r((ENTRY){(char *)name, value}, ENTER, &entry, reader->names);
    return true;
}

static bool index_values(OnnxReader *reader, Error *error) {
    const Onnx__GraphProto *proto = reader->proto;
    size_t room = proto->n_initializer + proto->n_input;
    for (size_t i = 0; i < proto->n_node; i++) room += proto->node[i]->n_output;
    if (room > 2 * ONNX_TENSORS)
        return error_set(error, ERROR_INPUT, "more than %d values", 2 * ONNX_TENSORS);
    reader->value = arena_alloc(reader->arena, sizeof *reader->value * (room + 1));
    if (!hcreate_r(2 * room + 16, reader->names))
        return error_set(error, ERROR_IO, "no memory for %zu names", room);
    for (size_t i = 0; i < proto->n_initializer; i++) {
        const char *name = proto->initializer[i]->name;
        if (!name || !*name) return error_set(error, ERROR_INPUT, "an initializer has no name");
        if (!add_value(reader, name, proto->initializer[i], -1, error)) return false;
    }
    for (size_t i = 0; i < proto->n_node; i++) {
        const Onnx__NodeProto *node = proto->node[i];
        if (!node->op_type || !*node->op_type)
            return error_set(error, ERROR_INPUT, "node %.100s has no operator", onnx_label(node));
        for (size_t k = 0; k < node->n_output; k++)
            if (*node->output[k] && !add_value(reader, node->output[k], NULL, (int)i, error))
                return false;
    }
    return true;
}

/* Is the input a sequence as LSTM and GRU read it, steps before samples? */
static bool has_steps_first(const OnnxReader *reader, const Onnx__ValueInfoProto *info) {
    for (size_t i = 0; i < reader->proto->n_node; i++) {
        const Onnx__NodeProto *node = reader->proto->node[i];
        if (onnx_recurrent(node->op_type) && node->n_input && !onnx_int_of(node, "layout", 0) &&
            strcmp(node->input[0], info->name) == 0)
            return true;
    }
    return false;
}

/* The net's input; it reads an image. What has no channels as images have, such as the steps of a
 * sequence, is one of grey that takes another shape. The node whose value has that; -1: refused. */
static int add_input_node(OnnxReader *reader, const char *label, const Shape *sample,
                          Error *error) {
    char name[NODE_NAME], shaped[NODE_NAME];
    onnx_legal_name(label, name);
    Shape image = *sample;
    bool grey = (sample->dim[0] > NORMALIZATION_CHANNELS || reader->steps_first) &&
                sample->rank + 2 <= MAX_RANK;
    if (grey) {
        image = (Shape){.rank = sample->rank + 1, .dim = {1}};
        memcpy(image.dim + 1, sample->dim, sizeof(int) * (size_t)sample->rank);
    }
    Node *node = graph_add(reader->net, name, layer_find("input"), &image, 0, NULL, error);
    if (!node || !grey) return node ? 0 : -1;
    snprintf(shaped, sizeof shaped, "%.*s_shaped", NODE_NAME - 8, name);
    const char *layer = sample->rank == 1 ? "flatten" : "reshape";
    node = graph_add(reader->net, shaped, layer_find(layer), sample->rank == 1 ? NULL : sample, 1,
                     (int[]){0}, error);
    return node ? 1 : -1;
}

static bool add_input(OnnxReader *reader, const Onnx__ValueInfoProto *info, Error *error) {
    const char *name = info->name;
    const Onnx__TypeProto *type = info->type;
    bool tensor = type && type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    const Onnx__TensorShapeProto *shape = tensor ? type->tensor_type->shape : NULL;
    if (!shape || type->tensor_type->elem_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT)
        return error_set(error, ERROR_INPUT, "input %.100s: expected floats of a known shape",
                         name);
    if (shape->n_dim < 1 || shape->n_dim > MAX_RANK)
        return error_set(error, ERROR_INPUT,
                         "input %.100s: %zu dimensions, expected a batch of 1 to %d", name,
                         shape->n_dim, MAX_RANK);
    reader->steps_first = shape->n_dim == 3 && has_steps_first(reader, info);
    size_t batch = reader->steps_first ? 1 : 0;
    Shape sample = {0};
    double count = 1;
    for (size_t d = 0; d < shape->n_dim; d++) {
        const Onnx__TensorShapeProto__Dimension *dim = shape->dim[d];
        bool known = dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        int64_t size = known ? dim->dim_value : 0;
        if (d == batch) {
            reader->batch = size;
            continue;
        }
        if (size < 1 || size > 1 << 20 || (count *= (double)size) > 0x1p28)
            return error_set(
                error, ERROR_INPUT,
                "input %.100s: its dimension %zu is %lld; all but the batch must be known", name, d,
                (long long)size);
        sample.dim[sample.rank++] = (int)size;
    }
    if (!add_value(reader, name, NULL, -1, error)) return false;
    OnnxValue *value = onnx_value_named(reader, name);
    if (!sample.rank) { /* a number a sample */
        sample = SHAPE(1);
        value->axes = "N";
    }
    value->node = add_input_node(reader, name, &sample, error);
    if (reader->steps_first) value->axes = "TNH";
    return value->node >= 0;
}

/* Older files list initializers among the inputs, too. */
static bool find_input(OnnxReader *reader, Error *error) {
    const Onnx__ValueInfoProto *input = NULL;
    for (size_t i = 0; i < reader->proto->n_input; i++) {
        const Onnx__ValueInfoProto *info = reader->proto->input[i];
        const OnnxValue *value = info->name ? onnx_value_named(reader, info->name) : NULL;
        if (value && value->tensor) continue;
        if (!info->name || input)
            return error_set(error, ERROR_INPUT, "it has several inputs; a net has one");
        input = info;
    }
    if (!input) return error_set(error, ERROR_INPUT, "it has no input");
    return add_input(reader, input, error);
}

/* The value that is the net's output: by its name, or the graph's only one. */
static bool find_output(OnnxReader *reader, const char *name, Error *error) {
    const Onnx__GraphProto *proto = reader->proto;
    if (!name && proto->n_output != 1) {
        const char *names = "";
        for (size_t i = 0; i < proto->n_output && i < 8; i++)
            names = arena_text(reader->arena, "%s%s%.60s", names, i ? ", " : "",
                               proto->output[i]->name ? proto->output[i]->name : "");
        return error_set(error, ERROR_INPUT,
                         "it has %zu outputs, a net has one: choose with --graph-output (%s)",
                         proto->n_output, names);
    }
    if (!name) name = proto->output[0]->name;
    OnnxValue *output = name ? onnx_value_named(reader, name) : NULL;
    if (!output) return error_set(error, ERROR_INPUT, "nothing makes its output");
    output->readers = 1;
    output->reader = -1;
    reader->output = output;
    return true;
}

/* Which nodes the output depends on, and who reads what: backward, in the order of a file whose
 * nodes come after what they read. */
static bool find_matters(OnnxReader *reader, Error *error) {
    const Onnx__GraphProto *proto = reader->proto;
    for (int i = (int)proto->n_node - 1; i >= 0; i--) {
        const Onnx__NodeProto *node = proto->node[i];
        for (size_t k = 0; k < node->n_output; k++) {
            const OnnxValue *value = onnx_value_named(reader, node->output[k]);
            if (value && value->readers) reader->matters[i] = true;
        }
        for (size_t k = 0; reader->matters[i] && k < node->n_input; k++) {
            OnnxValue *value = onnx_value(reader, node, k);
            if (!value && *node->input[k])
                return error_set(error, ERROR_INPUT,
                                 "node %.100s reads %.100s, which nothing makes", onnx_label(node),
                                 node->input[k]);
            if (!value) continue;
            if (value->maker >= i)
                return error_set(error, ERROR_INPUT,
                                 "node %.100s reads %.100s, which only a later node makes",
                                 onnx_label(node), node->input[k]);
            value->readers++;
            value->reader = i;
        }
    }
    return true;
}

/* What came of a node that could not be read is nothing; its readers are not to blame. */
static bool reads_nothing(const OnnxReader *reader, const Onnx__NodeProto *node) {
    for (size_t k = 0; k < node->n_input; k++) {
        const OnnxValue *value = onnx_value(reader, node, k);
        if (value && !value->tensor && !value->constant && !value->codes && value->node < 0)
            return true;
    }
    return false;
}

/* The axes of all values that the node reads, if they have the same and known numbers are single
 * ones; else NULL. */
static const char *common_axes(OnnxReader *reader, const Onnx__NodeProto *node) {
    const char *axes = NULL;
    int most = 0; /* dimensions of a number that is known: more would be the result's, too */
    for (size_t k = 0; k < node->n_input; k++) {
        const OnnxConstant *known = onnx_known(reader, node, k);
        const OnnxValue *value = onnx_value(reader, node, k);
        if (known && known->count != 1) return NULL;
        if (known && known->shape.rank > most) most = known->shape.rank;
        if (!value || known) continue;
        if (!value->axes || (axes && strcmp(axes, value->axes) != 0)) return NULL;
        axes = value->axes;
    }
    bool apart = axes && strchr(axes, 'D'); /* directions are a recurrent layer's alone */
    return axes && !apart && most <= (int)strlen(axes) ? axes : NULL;
}

static void read_node(OnnxReader *reader, const Onnx__NodeProto *node) {
    bool standard = !node->domain || !*node->domain || strcmp(node->domain, "ai.onnx") == 0;
    const OnnxReading *reading = standard ? onnx_reading(node->op_type) : NULL;
    if (!reading) {
        onnx_fault(reader, node,
                   standard ? "this operator is not supported" : "not a standard operator");
        return;
    }
    if (reads_nothing(reader, node)) return;
    int inputs = (int)node->n_input;
    if (inputs < reading->inputs || inputs > reading->most)
        onnx_fault(reader, node, "%d inputs", inputs);
    else if (!node->n_output || (!*node->output[0] && !onnx_recurrent(node->op_type)))
        onnx_fault(reader, node, "its first output is not there");
    else {
        reader->axes = reading->each ? common_axes(reader, node) : NULL;
        reading->read(reader, node);
        reader->axes = NULL;
    }
}

/* A graph that computes nothing is a layer that changes nothing. */
static bool add_nothing(OnnxReader *reader, Error *error) {
    char name[NODE_NAME];
    onnx_legal_name(reader->output->name, name);
    onnx_unique_name(reader->net, name);
    const Shape *shape = &reader->net->node[0].shape;
    const Node *same =
        graph_add(reader->net, name, layer_find("reshape"), shape, 1, (int[]){0}, error);
    if (same) onnx_value_named(reader, reader->output->name)->node = same->index;
    return same;
}

static bool read_nodes(OnnxReader *reader, Error *error) {
    const Onnx__GraphProto *proto = reader->proto;
    for (size_t i = 0; i < proto->n_node; i++)
        if (reader->matters[i] && !reader->done[i]) read_node(reader, proto->node[i]);
    int count = reader->fault_count;
    if (count)
        return error_set(error, ERROR_INPUT, "%d node%s cannot be read:%s", count,
                         count == 1 ? "" : "s", reader->faults);
    const OnnxValue *output = reader->output;
    if (output->node == 0 && reader->net->nodes == 1 && !add_nothing(reader, error)) return false;
    if (output->node != reader->net->nodes - 1 || output->codes ||
        (output->axes && !reader->steps_first && !onnx_axes_in_order(output->axes)) ||
        onnx_is_padded(output))
        return error_set(error, ERROR_INPUT, "its output is not what its last layer makes");
    reader->output_axes = output->axes;
    const Node *at;
    return graph_complete(reader->net, &at, error);
}

Graph *onnx_read_graph(OnnxReader *reader, const Onnx__ModelProto *model, int64_t opset,
                       const char *output, Arena *arena, Error *error) {
    const Onnx__GraphProto *proto = model->graph;
    struct hsearch_data names = {0};
    *reader = (OnnxReader){.arena = arena, .proto = proto, .opset = opset, .names = &names};
    reader->faults = arena_text(arena, "%s", "");
    reader->matters = arena_zeros(arena, proto->n_node);
    reader->done = arena_zeros(arena, proto->n_node);
    reader->net = graph_new(proto->name && *proto->name ? proto->name : "onnx");
    bool ok = index_values(reader, error) && find_input(reader, error) &&
              find_output(reader, output, error) && find_matters(reader, error) &&
              read_nodes(reader, error);
    hdestroy_r(&names);
    if (ok) return reader->net;
    graph_free(reader->net);
    return NULL;
}

Model *onnx_read_model(const Onnx__ModelProto *proto, int64_t opset, const char *output,
                       Error *error) {
    Arena *arena = arena_new();
    OnnxReader reader;
    Graph *net = onnx_read_graph(&reader, proto, opset, output, arena, error);
    Model *model = net ? model_new(net, error) : NULL;
    bool ok = model && (!onnx_quantized(&reader) || model_give(model, &reader.given, error));
    for (size_t i = 0; ok && i < proto->n_metadata_props; i++) {
        const Onnx__StringStringEntryProto *entry = proto->metadata_props[i];
        if (entry->key && entry->value && strcmp(entry->key, MODEL_INPUT) == 0)
            ok = model_input_parse(model, entry->value, "metadata", error);
    }
    arena_free(arena);
    if (ok) return model;
    model_free(model);
    return NULL;
}
