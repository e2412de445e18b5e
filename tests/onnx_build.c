#include "tests/onnx_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#define ATTRIBUTE(name) ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__##name
#define TENSOR(name)    ONNX__TENSOR_PROTO__DATA_TYPE__##name

File onnx_pack(const Onnx__ModelProto *proto, Arena *arena) {
    File file = {arena, onnx__model_proto__get_packed_size(proto), NULL};
    file.data = arena_alloc(arena, file.size);
    onnx__model_proto__pack(proto, file.data);
    return file;
}

Model *onnx_import_value(const uint8_t *data, size_t size, const char *output, Error *error) {
    Arena *arena = arena_new();
    int64_t opset;
    const Onnx__ModelProto *proto = onnx_parse(data, size, arena, &opset, error);
    Model *model = proto ? onnx_read_model(proto, opset, output, error) : NULL;
    arena_free(arena);
    return model;
}

Model *onnx_import(const uint8_t *data, size_t size, Error *error) {
    return onnx_import_value(data, size, NULL, error);
}

Model *onnx_imported(const File *file) {
    Error error = {0};
    Model *model = onnx_import(file->data, file->size, &error);
    if (!model) fail_msg("%s", error.message);
    return model;
}

bool onnx_survives(const uint8_t *data, size_t size) {
    Error error = {0};
    Model *model = onnx_import(data, size, &error);
    if (!model) assert_int_equal(error.code, ERROR_INPUT);
    model_free(model);
    return model != NULL;
}

Build *onnx_build(void) {
    Arena *arena = arena_new();
    Build *b = arena_zeros(arena, sizeof *b);
    b->graph = onnx_graph(arena, "other");
    onnx__model_proto__init(&b->model);
    onnx__operator_set_id_proto__init(&b->opset);
    b->model.has_ir_version = true;
    b->model.ir_version = 7;
    b->model.graph = b->graph.proto;
    b->model.n_opset_import = 1;
    b->model.opset_import = b->opsets;
    b->opsets[0] = &b->opset;
    b->opset.has_version = true;
    b->opset.version = 13;
    onnx_input(&b->graph, "x", &SHAPE(2, 4, 4));
    return b;
}

Onnx__NodeProto *build_node(Build *b, const char *op, const char *inputs, const char *out) {
    Onnx__NodeProto *added = onnx_node(&b->graph, op, out, 0, NULL, out);
    char *rest = arena_text(b->graph.arena, "%s", inputs);
    for (char *word; (word = strsep(&rest, " "));)
        if (*word) onnx_node_input(&b->graph, added, strcmp(word, "-") ? word : "");
    return added;
}

void set_word(Build *b, Onnx__NodeProto *to, const char *name, const char *word) {
    Onnx__AttributeProto *a = onnx_attribute(&b->graph, to, name, ATTRIBUTE(STRING));
    a->has_s = true;
    a->s.len = strlen(word);
    a->s.data = (uint8_t *)(char *)word;
}

void set_words(Build *b, Onnx__NodeProto *to, const char *name, int count,
               const char *const *words) {
    Onnx__AttributeProto *a = onnx_attribute(&b->graph, to, name, ATTRIBUTE(STRINGS));
    a->n_strings = (size_t)count;
    a->strings = arena_alloc(b->graph.arena, sizeof *a->strings * a->n_strings);
    for (int i = 0; i < count; i++)
        a->strings[i] = (ProtobufCBinaryData){strlen(words[i]), (uint8_t *)(char *)words[i]};
}

void set_int(Build *b, Onnx__NodeProto *to, const char *name, int64_t value) {
    Onnx__AttributeProto *a = onnx_attribute(&b->graph, to, name, ATTRIBUTE(INT));
    a->has_i = true;
    a->i = value;
}

static void *kept(Build *b, const void *data, size_t size) {
    return memcpy(arena_alloc(b->graph.arena, size), data, size);
}

void set_ints(Build *b, Onnx__NodeProto *to, const char *name, int count, const int64_t *values) {
    Onnx__AttributeProto *a = onnx_attribute(&b->graph, to, name, ATTRIBUTE(INTS));
    a->n_ints = (size_t)count;
    a->ints = kept(b, values, sizeof *values * (size_t)count);
}

void add_floats(Build *b, const char *name, Shape shape, float first) {
    size_t count = shape_count(&shape);
    float *data = arena_alloc(b->graph.arena, sizeof *data * count);
    for (size_t i = 0; i < count; i++) data[i] = first + (float)i / 8;
    onnx_floats(&b->graph, name, &shape, data);
}

void add_longs(Build *b, const char *name, int count, const int64_t *values) {
    onnx_tensor(&b->graph, name, TENSOR(INT64), sizeof *values, &SHAPE(count),
                kept(b, values, sizeof *values * (size_t)count));
}

void add_float(Build *b, const char *name, float value) {
    onnx_floats(&b->graph, name, &(Shape){0}, kept(b, &value, sizeof value));
}

void add_byte(Build *b, const char *name, Onnx__TensorProto__DataType type, int value) {
    uint8_t byte = (uint8_t)value;
    onnx_tensor(&b->graph, name, type, 1, &(Shape){0}, kept(b, &byte, 1));
}

/* The graph's net as text, or the reason, owned by the arena. */
static const char *net_of(Build *b, const char *value, bool *ok) {
    Error error = {0};
    File file = onnx_pack(&b->model, b->graph.arena);
    Model *model = onnx_import_value(file.data, file.size, value, &error);
    *ok = model != NULL;
    const char *text = model ? graph_text(model->graph, b->graph.arena)
                             : arena_text(b->graph.arena, "%s", error.message);
    model_free(model);
    return text;
}

void value_gives_net(Build *b, const char *value, const char *net) {
    bool ok;
    assert_string_equal(net_of(b, value, &ok), net);
    arena_free(b->graph.arena);
}

void value_is_refused(Build *b, const char *value, const char *fragment) {
    bool ok;
    const char *text = net_of(b, value, &ok);
    if (ok || !strstr(text, fragment)) fail_msg("expected \"%s\", have: %s", fragment, text);
    arena_free(b->graph.arena);
}

void gives_net(Build *b, const char *out, const char *net) {
    onnx_output(&b->graph, out, &SHAPE(1));
    value_gives_net(b, NULL, net);
}

void is_refused(Build *b, const char *out, const char *fragment) {
    onnx_output(&b->graph, out, &SHAPE(1));
    value_is_refused(b, NULL, fragment);
}

const float *gives_values(Build *b, const char *out, Shape *shape) {
    onnx_output(&b->graph, out, &SHAPE(1));
    File file = onnx_pack(&b->model, b->graph.arena);
    Model *model = onnx_imported(&file);
    Tape *tape = tape_new(false);
    Tensor *x = tensor_zeros(tape->arena, SHAPE(2, 2, 4, 4));
    for (size_t i = 0; i < x->count; i++) x->data[i] = -8 + (float)i / 4;
    const Tensor *y = graph_forward(model->graph, &(Run){.tape = tape}, x, NULL);
    *shape = y->shape;
    const float *values = kept(b, y->data, sizeof *y->data * y->count);
    tape_free(tape);
    model_free(model);
    return values;
}
