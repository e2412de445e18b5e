#include "tests/onnx_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static char *attribute_text(const Onnx__AttributeProto *a, Arena *arena) {
    char *text = arena_text(arena, "%s=", a->name);
    if (a->type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT)
        return arena_text(arena, "%s%lld", text, (long long)a->i);
    if (a->type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT)
        return arena_text(arena, "%s%.9g", text, (double)a->f);
    if (a->type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING)
        return arena_text(arena, "%s%.*s", text, (int)a->s.len, (const char *)a->s.data);
    assert_int_equal(a->type, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    for (size_t i = 0; i < a->n_ints; i++)
        text = arena_text(arena, "%s%s%lld", text, i ? "," : "", (long long)a->ints[i]);
    return text;
}

static char *node_text(const Onnx__NodeProto *node, Arena *arena) {
    char *text = arena_text(arena, "%s", node->output[0]);
    for (size_t i = 1; i < node->n_output; i++)
        text = arena_text(arena, "%s, %s", text, node->output[i]);
    text = arena_text(arena, "%s = %s", text, node->op_type);
    for (size_t i = 0; i < node->n_attribute; i++)
        text = arena_text(arena, "%s%s%s", text, i ? " " : "[",
                          attribute_text(node->attribute[i], arena));
    text = arena_text(arena, "%s%s(", text, node->n_attribute ? "]" : "");
    for (size_t i = 0; i < node->n_input; i++)
        text = arena_text(arena, "%s%s%s", text, i ? ", " : "", node->input[i]);
    return arena_text(arena, "%s)\n", text);
}

char *onnx_text(const Onnx__GraphProto *graph, Arena *arena) {
    char *text = arena_text(arena, "%s", "");
    for (size_t i = 0; i < graph->n_node; i++)
        text = arena_text(arena, "%s%s", text, node_text(graph->node[i], arena));
    return text;
}

const Onnx__NodeProto *onnx_find_node(const Onnx__GraphProto *graph, const char *output) {
    for (size_t i = 0; i < graph->n_node; i++)
        if (strcmp(graph->node[i]->output[0], output) == 0) return graph->node[i];
    fail_msg("no node makes %s", output);
    return NULL;
}

const Onnx__TensorProto *onnx_find_tensor(const Onnx__GraphProto *graph, const char *name) {
    for (size_t i = 0; i < graph->n_initializer; i++)
        if (strcmp(graph->initializer[i]->name, name) == 0) return graph->initializer[i];
    fail_msg("no initializer %s", name);
    return NULL;
}

void assert_onnx_tensor(const Onnx__GraphProto *graph, const char *name,
                        Onnx__TensorProto__DataType type, const char *dims, const void *data,
                        size_t bytes) {
    const Onnx__TensorProto *tensor = onnx_find_tensor(graph, name);
    char have[SHAPE_TEXT];
    Shape shape = {.rank = (int)tensor->n_dims};
    for (int i = 0; i < shape.rank; i++) shape.dim[i] = (int)tensor->dims[i];
    assert_int_equal(tensor->data_type, type);
    assert_string_equal(shape_text(&shape, have), dims);
    assert_int_equal(tensor->raw_data.len, bytes);
    assert_memory_equal(tensor->raw_data.data, data, bytes);
}
