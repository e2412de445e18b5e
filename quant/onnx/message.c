#include "quant/onnx/message.h"

#include <stdlib.h>
#include <string.h>

/* Appends to a repeated field: list[*count], its memory doubled whenever it is full. */
static void append(Arena *arena, void *list, size_t *count, void *item) {
    void ***at = list;
    if ((*count & (*count - 1)) == 0) { /* 0 or a power of two: full */
        void **more = arena_alloc(arena, sizeof *more * (*count ? 2 * *count : 1));
        if (*count) memcpy(more, *at, sizeof *more * *count);
        *at = more;
    }
    (*at)[(*count)++] = item;
}

/* A message of a type, with its defaults, in the arena. */
#define NEW(arena, Type, init) memcpy(arena_alloc(arena, sizeof(Type)), &(Type)init, sizeof(Type))

/* The messages have no const; nothing is written through these pointers. */
static char *text(const char *string) {
    return (char *)string;
}

OnnxGraph onnx_graph(Arena *arena, const char *name) {
    OnnxGraph graph = {arena, NEW(arena, Onnx__GraphProto, ONNX__GRAPH_PROTO__INIT)};
    graph.proto->name = text(name);
    return graph;
}

Onnx__NodeProto *onnx_node(const OnnxGraph *graph, const char *op_type, const char *name,
                           int inputs, const char *const in[], const char *out) {
    Onnx__NodeProto *node = NEW(graph->arena, Onnx__NodeProto, ONNX__NODE_PROTO__INIT);
    node->op_type = text(op_type);
    node->name = text(name);
    for (int i = 0; i < inputs; i++) onnx_node_input(graph, node, in[i]);
    onnx_node_output(graph, node, out);
    append(graph->arena, &graph->proto->node, &graph->proto->n_node, node);
    return node;
}

void onnx_node_input(const OnnxGraph *graph, Onnx__NodeProto *node, const char *in) {
    append(graph->arena, &node->input, &node->n_input, text(in));
}

void onnx_node_output(const OnnxGraph *graph, Onnx__NodeProto *node, const char *out) {
    append(graph->arena, &node->output, &node->n_output, text(out));
}

Onnx__AttributeProto *onnx_attribute(const OnnxGraph *graph, Onnx__NodeProto *node,
                                     const char *name, Onnx__AttributeProto__AttributeType type) {
    Onnx__AttributeProto *attribute =
        NEW(graph->arena, Onnx__AttributeProto, ONNX__ATTRIBUTE_PROTO__INIT);
    attribute->name = text(name);
    attribute->has_type = true;
    attribute->type = type;
    append(graph->arena, &node->attribute, &node->n_attribute, attribute);
    return attribute;
}

const char *onnx_tensor(const OnnxGraph *graph, const char *name, Onnx__TensorProto__DataType type,
                        size_t width, const Shape *shape, const void *data) {
    Onnx__TensorProto *tensor = NEW(graph->arena, Onnx__TensorProto, ONNX__TENSOR_PROTO__INIT);
    tensor->name = text(name);
    tensor->has_data_type = true;
    tensor->data_type = (int32_t)type;
    tensor->n_dims = (size_t)shape->rank;
    tensor->dims = arena_alloc(graph->arena, sizeof *tensor->dims * (size_t)shape->rank);
    for (int i = 0; i < shape->rank; i++) tensor->dims[i] = shape->dim[i];
    tensor->has_raw_data = true;
    tensor->raw_data.len = size_mul(shape_count(shape), width);
    tensor->raw_data.data = (uint8_t *)data;
    append(graph->arena, &graph->proto->initializer, &graph->proto->n_initializer, tensor);
    return name;
}

const char *onnx_floats(const OnnxGraph *graph, const char *name, const Shape *shape,
                        const float *data) {
    return onnx_tensor(graph, name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, sizeof *data, shape,
                       data);
}

void onnx_reshape(const OnnxGraph *graph, const char *name, const char *in, const Shape *sample,
                  const char *out) {
    int64_t *sizes = arena_alloc(graph->arena, sizeof *sizes * (size_t)(1 + sample->rank));
    sizes[0] = 0; /* as the input has it: the batch */
    for (int i = 0; i < sample->rank; i++) sizes[1 + i] = sample->dim[i];
    const char *shape = onnx_tensor(graph, arena_text(graph->arena, "%s_shape", name),
                                    ONNX__TENSOR_PROTO__DATA_TYPE__INT64, sizeof *sizes,
                                    &SHAPE(1 + sample->rank), sizes);
    onnx_node(graph, "Reshape", name, 2, (const char *[]){in, shape}, out);
}

/* --- inputs and outputs --- */

static Onnx__TensorShapeProto__Dimension *add_dimension(Arena *arena,
                                                        Onnx__TensorShapeProto *shape) {
    Onnx__TensorShapeProto__Dimension *dim =
        NEW(arena, Onnx__TensorShapeProto__Dimension, ONNX__TENSOR_SHAPE_PROTO__DIMENSION__INIT);
    append(arena, &shape->dim, &shape->n_dim, dim);
    return dim;
}

static Onnx__ValueInfoProto *value_info(Arena *arena, const char *name, const Shape *sample) {
    Onnx__TensorShapeProto *shape =
        NEW(arena, Onnx__TensorShapeProto, ONNX__TENSOR_SHAPE_PROTO__INIT);
    Onnx__TensorShapeProto__Dimension *dim = add_dimension(arena, shape);
    dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
    dim->dim_param = text("N");
    for (int i = 0; i < sample->rank; i++) {
        dim = add_dimension(arena, shape);
        dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        dim->dim_value = sample->dim[i];
    }
    Onnx__TypeProto__Tensor *tensor =
        NEW(arena, Onnx__TypeProto__Tensor, ONNX__TYPE_PROTO__TENSOR__INIT);
    tensor->has_elem_type = true;
    tensor->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    tensor->shape = shape;
    Onnx__TypeProto *type = NEW(arena, Onnx__TypeProto, ONNX__TYPE_PROTO__INIT);
    type->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type->tensor_type = tensor;
    Onnx__ValueInfoProto *value = NEW(arena, Onnx__ValueInfoProto, ONNX__VALUE_INFO_PROTO__INIT);
    value->name = text(name);
    value->type = type;
    return value;
}

void onnx_input(const OnnxGraph *graph, const char *name, const Shape *sample) {
    append(graph->arena, &graph->proto->input, &graph->proto->n_input,
           value_info(graph->arena, name, sample));
}

void onnx_output(const OnnxGraph *graph, const char *name, const Shape *sample) {
    append(graph->arena, &graph->proto->output, &graph->proto->n_output,
           value_info(graph->arena, name, sample));
}

/* --- the whole --- */

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

bool onnx_names_differ(const OnnxGraph *graph, Error *error) {
    const Onnx__GraphProto *g = graph->proto;
    size_t most = g->n_input + g->n_initializer, count = 0;
    for (size_t i = 0; i < g->n_node; i++) most += g->node[i]->n_output;
    const char **name = arena_alloc(graph->arena, sizeof *name * most);
    for (size_t i = 0; i < g->n_input; i++) name[count++] = g->input[i]->name;
    for (size_t i = 0; i < g->n_initializer; i++) name[count++] = g->initializer[i]->name;
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t o = 0; o < g->node[i]->n_output; o++) name[count++] = g->node[i]->output[o];
    qsort(name, count, sizeof *name, compare_names);
    for (size_t i = 1; i < count; i++)
        if (strcmp(name[i - 1], name[i]) == 0)
            return error_set(error, ERROR_INPUT,
                             "two tensors of the ONNX graph would be called '%s': rename the node",
                             name[i]);
    return true;
}
