#include "quant/onnx/parse.h"

#include <string.h>

#define TYPE(name) ONNX__TENSOR_PROTO__DATA_TYPE__##name

bool onnx_knows(const unsigned char *data, size_t size) {
    /* field 1 (ir_version) below 32, then one of the fields 2 .. 8, as a number or as bytes */
    return size >= 3 && data[0] == 0x08 && data[1] < 32 && data[2] >= 0x10 && data[2] <= 0x42 &&
           (data[2] % 8 == 0 || data[2] % 8 == 2);
}

/* --- memory --- */

/* What unpacking may take. Messages are larger than their bytes: an empty one of two bytes is a
 * struct. Beyond a multiple that no sound file comes near, allocation fails, and unpacking with it.
 */
typedef struct Budget {
    Arena *arena;
    size_t left;
} Budget;

static void *budget_alloc(void *context, size_t size) {
    Budget *budget = context;
    size_t taken = size + 64; /* an arena's alignment */
    if (size > budget->left || taken > budget->left) return NULL;
    budget->left -= taken;
    return arena_alloc(budget->arena, size);
}

static void budget_free(void *context, void *pointer) { /* with the arena */
    (void)context, (void)pointer;
}

/* --- proofs --- */

/* Bytes of an element as raw data, and which field holds it otherwise. */
typedef struct ElementType {
    Onnx__TensorProto__DataType type;
    size_t width;
    size_t offset; /* of the field's count in TensorProto */
    float (*real)(const unsigned char *raw);
    int64_t (*whole)(const unsigned char *raw);
} ElementType;

#define READ(name, Type, Result)                                                                   \
    static Result name(const unsigned char *raw) {                                                 \
        Type value;                                                                                \
        memcpy(&value, raw, sizeof value);                                                         \
        return (Result)value;                                                                      \
    }
READ(read_float, float, float)
READ(read_double, double, float)
READ(read_u8, uint8_t, int64_t)
READ(read_i8, int8_t, int64_t)
READ(read_u16, uint16_t, int64_t)
READ(read_i16, int16_t, int64_t)
READ(read_i32, int32_t, int64_t)
READ(read_i64, int64_t, int64_t)
READ(read_u32, uint32_t, int64_t)

#define COUNT(field) offsetof(Onnx__TensorProto, n_##field)
static const ElementType types[] = {
    {TYPE(FLOAT), 4, COUNT(float_data), read_float, NULL},
    {TYPE(DOUBLE), 8, COUNT(double_data), read_double, NULL},
    {TYPE(UINT8), 1, COUNT(int32_data), NULL, read_u8},
    {TYPE(INT8), 1, COUNT(int32_data), NULL, read_i8},
    {TYPE(UINT16), 2, COUNT(int32_data), NULL, read_u16},
    {TYPE(INT16), 2, COUNT(int32_data), NULL, read_i16},
    {TYPE(INT32), 4, COUNT(int32_data), NULL, read_i32},
    {TYPE(INT64), 8, COUNT(int64_data), NULL, read_i64},
    {TYPE(UINT32), 4, COUNT(uint64_data), NULL, read_u32},
    {TYPE(BOOL), 1, COUNT(int32_data), NULL, read_u8},
};

static const ElementType *type_find(const Onnx__TensorProto *tensor) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if ((int)types[i].type == tensor->data_type) return &types[i];
    return NULL;
}

static bool name_sound(const char *name) {
    return !name || strlen(name) <= ONNX_NAME;
}

static const char *shown(const char *name) {
    return name && *name ? name : "(no name)";
}

static bool check_tensor(const Onnx__TensorProto *tensor, Error *error) {
    const char *name = shown(tensor->name);
    if (!name_sound(tensor->name))
        return error_set(error, ERROR_INPUT, "a tensor's name is too long");
    if (tensor->n_external_data ||
        (tensor->has_data_location &&
         tensor->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__DEFAULT))
        return error_set(error, ERROR_INPUT,
                         "tensor %.100s: its data lies in another file: save the model as one file",
                         name);
    if (tensor->has_segment)
        return error_set(error, ERROR_INPUT, "tensor %.100s: it is cut into segments", name);
    if (tensor->n_dims > MAX_RANK)
        return error_set(error, ERROR_INPUT, "tensor %.100s: more than %d dimensions", name,
                         MAX_RANK);
    double count = 1;
    for (size_t d = 0; d < tensor->n_dims; d++) {
        if (tensor->dims[d] < 0 || tensor->dims[d] > 1 << 28)
            return error_set(error, ERROR_INPUT, "tensor %.100s: a dimension of %lld", name,
                             (long long)tensor->dims[d]);
        count *= (double)tensor->dims[d];
        if (count > 0x1p28) /* whatever follows: a 0 does not make the others harmless */
            return error_set(error, ERROR_INPUT, "tensor %.100s: more than 2^28 elements", name);
    }
    const ElementType *type = type_find(tensor);
    if (!type) return true; /* whoever needs its numbers tells */
    size_t listed = *(const size_t *)((const char *)tensor + type->offset);
    size_t have = tensor->has_raw_data ? tensor->raw_data.len / type->width : listed;
    if ((double)have != count || (tensor->has_raw_data && tensor->raw_data.len % type->width))
        return error_set(error, ERROR_INPUT,
                         "tensor %.100s: its dimensions make %.0f elements, its data has %zu", name,
                         count, have);
    return true;
}

static bool check_node(const Onnx__NodeProto *node, Error *error) {
    bool names = name_sound(node->name) && name_sound(node->op_type) && name_sound(node->domain);
    for (size_t i = 0; i < node->n_input; i++) names &= name_sound(node->input[i]);
    for (size_t i = 0; i < node->n_output; i++) names &= name_sound(node->output[i]);
    for (size_t i = 0; i < node->n_attribute; i++) names &= name_sound(node->attribute[i]->name);
    if (!names) return error_set(error, ERROR_INPUT, "a name of more than %d bytes", ONNX_NAME);
    for (size_t i = 0; i < node->n_attribute; i++) {
        const Onnx__AttributeProto *a = node->attribute[i];
        if (a->has_g || a->n_graphs)
            return error_set(error, ERROR_INPUT, "node %.100s (%.60s): it has a sub-graph",
                             shown(node->name), shown(node->op_type));
        if (a->t && !check_tensor(a->t, error)) return false;
    }
    return true;
}

static bool check_graph(const Onnx__GraphProto *graph, Error *error) {
    if (graph->n_node > ONNX_NODES || graph->n_initializer > ONNX_TENSORS)
        return error_set(error, ERROR_INPUT, "%zu nodes and %zu initializers, at most %d and %d",
                         graph->n_node, graph->n_initializer, ONNX_NODES, ONNX_TENSORS);
    if (graph->n_sparse_initializer) return error_set(error, ERROR_INPUT, "it has sparse tensors");
    for (size_t i = 0; i < graph->n_input; i++)
        if (!name_sound(graph->input[i]->name))
            return error_set(error, ERROR_INPUT, "a name of more than %d bytes", ONNX_NAME);
    for (size_t i = 0; i < graph->n_initializer; i++)
        if (!check_tensor(graph->initializer[i], error)) return false;
    for (size_t i = 0; i < graph->n_node; i++)
        if (!check_node(graph->node[i], error)) return false;
    return true;
}

bool onnx_check(const Onnx__ModelProto *model, int64_t *opset, Error *error) {
    *opset = 0;
    if (!model->graph) return error_set(error, ERROR_INPUT, "it holds no graph");
    if (model->n_functions) return error_set(error, ERROR_INPUT, "it has functions of its own");
    for (size_t i = 0; i < model->n_opset_import; i++) {
        const Onnx__OperatorSetIdProto *set = model->opset_import[i];
        bool standard = !set->domain || !*set->domain || strcmp(set->domain, "ai.onnx") == 0;
        if (standard) *opset = set->version;
    }
    if (*opset < ONNX_OPSET_LEAST || *opset > ONNX_OPSET_MOST)
        return error_set(error, ERROR_INPUT, "its operators are of opset %lld, read are %d to %d",
                         (long long)*opset, ONNX_OPSET_LEAST, ONNX_OPSET_MOST);
    return check_graph(model->graph, error);
}

const Onnx__ModelProto *onnx_parse(const unsigned char *data, size_t size, Arena *arena,
                                   int64_t *opset, Error *error) {
    enum { LEAST = 16 << 20, TIMES = 16 };
    Budget budget = {arena, LEAST + size_mul(size, TIMES)};
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
    const Onnx__ModelProto *model = onnx__model_proto__unpack(&allocator, size, data);
    if (!model) {
        error_set(error, ERROR_INPUT, "damaged: it is no whole ONNX model");
        return NULL;
    }
    return onnx_check(model, opset, error) ? model : NULL;
}

/* --- numbers --- */

static float real_at(const Onnx__TensorProto *tensor, const ElementType *type, size_t i) {
    if (tensor->has_raw_data) return type->real(tensor->raw_data.data + i * type->width);
    return type->offset == COUNT(float_data) ? tensor->float_data[i]
                                             : (float)tensor->double_data[i];
}

static int64_t whole_at(const Onnx__TensorProto *tensor, const ElementType *type, size_t i) {
    if (tensor->has_raw_data) return type->whole(tensor->raw_data.data + i * type->width);
    return type->offset == COUNT(int32_data)   ? tensor->int32_data[i]
           : type->offset == COUNT(int64_data) ? tensor->int64_data[i]
                                               : (int64_t)tensor->uint64_data[i];
}

OnnxConstant *onnx_constant(const Onnx__TensorProto *tensor, Arena *arena) {
    const ElementType *type = type_find(tensor);
    if (!type) return NULL;
    OnnxConstant *constant = arena_zeros(arena, sizeof *constant);
    constant->type = type->type;
    constant->shape.rank = (int)tensor->n_dims;
    for (size_t d = 0; d < tensor->n_dims; d++) constant->shape.dim[d] = (int)tensor->dims[d];
    size_t count = constant->count = shape_count(&constant->shape);
    if (type->real) {
        constant->f = arena_alloc(arena, size_mul(count, sizeof *constant->f));
        for (size_t i = 0; i < count; i++) constant->f[i] = real_at(tensor, type, i);
    } else {
        constant->i = arena_alloc(arena, size_mul(count, sizeof *constant->i));
        for (size_t i = 0; i < count; i++) constant->i[i] = whole_at(tensor, type, i);
    }
    return constant;
}
