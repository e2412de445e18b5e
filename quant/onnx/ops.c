#include "quant/onnx/ops.h"

#include <math.h>
#include <string.h>

#include "nn/layers/pool.h"
#include "nn/layers/view.h"
#include "quant/onnx/recurrent.h"

/* --- forms --- */

static void write_int(Arena *arena, int spatial, const void *place, Onnx__AttributeProto *to) {
    (void)arena, (void)spatial;
    to->has_i = true;
    to->i = *(const int *)place;
}

static void write_float(Arena *arena, int spatial, const void *place, Onnx__AttributeProto *to) {
    (void)arena, (void)spatial;
    to->has_f = true;
    to->f = *(const float *)place;
}

static void write_rest(Arena *arena, int spatial, const void *place, Onnx__AttributeProto *to) {
    float rest = (float)(1 - (double)*(const float *)place);
    write_float(arena, spatial, &rest, to);
}

static void write_bool(Arena *arena, int spatial, const void *place, Onnx__AttributeProto *to) {
    (void)arena, (void)spatial;
    to->has_i = true;
    to->i = *(const bool *)place;
}

static void write_sizes(Arena *arena, int spatial, const void *place, Onnx__AttributeProto *to) {
    const int *sizes = (const int *)place + SPATIAL - spatial;
    to->n_ints = (size_t)spatial;
    to->ints = arena_alloc(arena, sizeof *to->ints * to->n_ints);
    for (int i = 0; i < spatial; i++) to->ints[i] = sizes[i];
}

static void write_pads(Arena *arena, int spatial, const void *place, Onnx__AttributeProto *to) {
    const Window *window = place;
    to->n_ints = 2 * (size_t)spatial;
    to->ints = arena_alloc(arena, sizeof *to->ints * to->n_ints);
    for (int i = 0; i < spatial; i++) {
        to->ints[i] = window->padding[SPATIAL - spatial + i];
        to->ints[spatial + i] = window_padding_end(window, SPATIAL - spatial + i);
    }
}

static bool read_int(int spatial, const Onnx__AttributeProto *from, void *place) {
    (void)spatial;
    *(int *)place = (int)from->i;
    return from->has_i && from->i == *(int *)place;
}

static bool read_float(int spatial, const Onnx__AttributeProto *from, void *place) {
    (void)spatial;
    *(float *)place = from->f;
    return from->has_f;
}

static bool read_rest(int spatial, const Onnx__AttributeProto *from, void *place) {
    (void)spatial;
    float rest = (float)(1 - (double)from->f), *value = place;
    float decimal = rintf(rest * 1e6f) / 1e6f; /* 0.1, which as 1 - 0.9f is 0.100000024 */
    *value = (float)(1 - (double)decimal) == from->f ? decimal : rest;
    return from->has_f;
}

static bool read_bool(int spatial, const Onnx__AttributeProto *from, void *place) {
    (void)spatial;
    *(bool *)place = from->i == 1;
    return from->has_i && (from->i == 0 || from->i == 1);
}

/* `count` numbers, of an attribute's from number `first` on. */
static bool read_some(const Onnx__AttributeProto *from, int first, int count, int *sizes) {
    for (int i = 0; i < count; i++) {
        int64_t size = from->ints[first + i];
        if (size < 0 || size > INT16_MAX) return false;
        sizes[SPATIAL - count + i] = (int)size;
    }
    return true;
}

static bool read_sizes(int spatial, const Onnx__AttributeProto *from, void *place) {
    return from->n_ints == (size_t)spatial && read_some(from, 0, spatial, place);
}

static bool read_pads(int spatial, const Onnx__AttributeProto *from, void *place) {
    Window *window = place;
    int end[SPATIAL] = {0};
    if (from->n_ints != 2 * (size_t)spatial || !read_some(from, 0, spatial, window->padding) ||
        !read_some(from, spatial, spatial, end))
        return false;
    for (int d = SPATIAL - spatial; d < SPATIAL; d++)
        window->uneven[d] = end[d] - window->padding[d];
    return true;
}

#define TYPE(name) ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__##name
const OnnxForm onnx_int = {TYPE(INT), 0, write_int, read_int};
const OnnxForm onnx_float = {TYPE(FLOAT), 0, write_float, read_float};
const OnnxForm onnx_bool = {TYPE(INT), 0, write_bool, read_bool};
const OnnxForm onnx_sizes = {TYPE(INTS), 1, write_sizes, read_sizes};
const OnnxForm onnx_pads = {TYPE(INTS), 2, write_pads, read_pads};
const OnnxForm onnx_rest = {TYPE(FLOAT), 0, write_rest, read_rest};

/* --- layers that are no plain node --- */

static void write_reshape(const OnnxGraph *graph, const Node *node, const char *const in[],
                          const char *out) {
    onnx_reshape(graph, node->name, in[0], &node->shape, out);
}

static void write_clip(const OnnxGraph *graph, const Node *node, const char *const in[],
                       const char *out) {
    static const Shape scalar = {0};
    const float *clamp = layer_clamps(node->layer) ? node->layer->clamp : node->spec;
    const char *least = arena_text(graph->arena, "%s_min", node->name);
    const char *most = arena_text(graph->arena, "%s_max", node->name);
    onnx_floats(graph, least, &scalar, &clamp[0]);
    onnx_floats(graph, most, &scalar, &clamp[1]);
    onnx_node(graph, "Clip", node->name, 3, (const char *[]){in[0], least, most}, out);
}

/* x HardSigmoid(x): the operator HardSwish is of a later opset. */
static void write_hardswish(const OnnxGraph *graph, const Node *node, const char *const in[],
                            const char *out) {
    static const float alpha = 1.0f / 6;
    const char *gate = arena_text(graph->arena, "%s_gate", node->name);
    Onnx__NodeProto *sigmoid = onnx_node(graph, "HardSigmoid", gate, 1, in, gate);
    write_float(graph->arena, 0, &alpha, onnx_attribute(graph, sigmoid, "alpha", TYPE(FLOAT)));
    onnx_node(graph, "Mul", node->name, 2, (const char *[]){in[0], gate}, out);
}

/* A sample's dimensions behind the batch, which stays. */
static void write_transpose(const OnnxGraph *graph, const Node *node, const char *const in[],
                            const char *out) {
    const Shape *order = &((const TransposeSpec *)node->spec)->order;
    Onnx__NodeProto *to = onnx_node(graph, "Transpose", node->name, 1, in, out);
    Onnx__AttributeProto *perm = onnx_attribute(graph, to, "perm", TYPE(INTS));
    perm->n_ints = 1 + (size_t)order->rank;
    perm->ints = arena_zeros(graph->arena, sizeof *perm->ints * perm->n_ints);
    for (int d = 0; d < order->rank; d++) perm->ints[1 + d] = order->dim[d];
}

static void write_slice(const OnnxGraph *graph, const Node *node, const char *const in[],
                        const char *out) {
    static const char *const names[] = {"starts", "ends", "axes", "steps"};
    const SliceSpec *spec = node->spec;
    const int values[] = {spec->begin, spec->end, spec->axis, spec->step};
    const char *input[5] = {in[0]};
    for (int k = 0; k < 4; k++) {
        int64_t *value = arena_alloc(graph->arena, sizeof *value);
        *value = values[k];
        const char *name = arena_text(graph->arena, "%s_%s", node->name, names[k]);
        input[1 + k] = onnx_tensor(graph, name, ONNX__TENSOR_PROTO__DATA_TYPE__INT64, sizeof *value,
                                   &SHAPE(1), value);
    }
    onnx_node(graph, "Slice", node->name, 5, input, out);
}

/* --- the table --- */

#define FIELD(attribute, form, field, absent)                                                      \
    { attribute, &form, field, 0, absent }
#define ONLY(attribute, form, value, absent)                                                       \
    { attribute, &form, NULL, value, absent }

/* name in ONNX, form, field or value, what its absence means */
#define ALPHA        FIELD("alpha", onnx_float, "slope", 0.01)
#define ELU_ALPHA    FIELD("alpha", onnx_float, "alpha", 1)
#define AXIS(absent) ONLY("axis", onnx_int, 1, absent) /* of the channels */
#define CEIL         ONLY("ceil_mode", onnx_int, 0, 0)
#define COUNT_PAD    FIELD("count_include_pad", onnx_bool, "count_include_pad", 0)
#define COUNT_ALL    ONLY("count_include_pad", onnx_int, 1, 0)
#define DILATION     FIELD("dilations", onnx_sizes, "dilation", 1)
#define EPSILON      FIELD("epsilon", onnx_float, "eps", 1e-5)
#define GROUPS       FIELD("group", onnx_int, "groups", 1)
#define KERNEL       FIELD("kernel_shape", onnx_sizes, "kernel", NAN)
#define MOMENTUM     FIELD("momentum", onnx_rest, "momentum", 0.9)
#define NO_ALPHA     ONLY("alpha", onnx_float, 1, 1)
#define NO_BETA      ONLY("beta", onnx_float, 1, 1)
#define OUTPUT_PAD   FIELD("output_padding", onnx_sizes, "output_padding", 0)
#define PADDING      FIELD("pads", onnx_pads, "padding", 0)
#define STRIDE       FIELD("strides", onnx_sizes, "stride", 1)
#define TRAINING     ONLY("training_mode", onnx_int, 0, 0)
#define TRANS_A      ONLY("transA", onnx_int, 0, 0)
#define TRANS_B      ONLY("transB", onnx_int, 1, 0)

#define ATTRIBUTES(...) .attribute = {__VA_ARGS__}
#define PARAMS(...)     .param = {__VA_ARGS__}
#define CONV            ATTRIBUTES(DILATION, GROUPS, KERNEL, PADDING, STRIDE), PARAMS("weight", "bias")
#define CONV_TRANSPOSE                                                                             \
    ATTRIBUTES(DILATION, GROUPS, KERNEL, OUTPUT_PAD, PADDING, STRIDE), PARAMS("weight", "bias")
#define AVERAGE(count) ATTRIBUTES(CEIL, count, KERNEL, PADDING, STRIDE)

#define ROW(name, type, ...)                                                                       \
    { .layer = name, .op_type = type, __VA_ARGS__ }

const OnnxOp onnx_ops[] = {
    ROW("input", NULL),
    ROW("conv1d", "Conv", CONV),
    ROW("conv2d", "Conv", CONV),
    ROW("conv3d", "Conv", CONV),
    ROW("conv_transpose1d", "ConvTranspose", CONV_TRANSPOSE),
    ROW("conv_transpose2d", "ConvTranspose", CONV_TRANSPOSE),
    ROW("conv_transpose3d", "ConvTranspose", CONV_TRANSPOSE),
    ROW("linear", "Gemm", ATTRIBUTES(NO_ALPHA, NO_BETA, TRANS_A, TRANS_B),
        PARAMS("weight", "bias")),
    ROW("lstm", "LSTM", .write = onnx_write_lstm),
    ROW("gru", "GRU", .write = onnx_write_gru),
    ROW("batchnorm", "BatchNormalization", ATTRIBUTES(EPSILON, MOMENTUM, TRAINING),
        PARAMS("weight", "bias", "running_mean", "running_var")),
    ROW("relu", "Relu"),
    ROW("relu6", "Clip", .write = write_clip),
    ROW("hardtanh", "Clip", .write = write_clip), /* its spec is the two ends */
    ROW("leaky_relu", "LeakyRelu", ATTRIBUTES(ALPHA)),
    ROW("elu", "Elu", ATTRIBUTES(ELU_ALPHA)),
    ROW("hardswish", "HardSwish", .write = write_hardswish),
    ROW("sigmoid", "Sigmoid"),
    ROW("tanh", "Tanh"),
    ROW("softmax", "Softmax", ATTRIBUTES(AXIS(-1))),
    ROW("maxpool", "MaxPool", ATTRIBUTES(CEIL, DILATION, KERNEL, PADDING, STRIDE)),
    ROW("avgpool", "AveragePool", AVERAGE(COUNT_PAD)),
    ROW("globalavgpool", "GlobalAveragePool"),
    ROW("adaptiveavgpool", "AveragePool", AVERAGE(COUNT_ALL),
        .fields = avgpool_fields), /* of its first part */
    ROW("add", "Add"),
    ROW("mul", "Mul"),
    ROW("concat", "Concat", ATTRIBUTES(AXIS(NAN))),
    ROW("flatten", "Flatten", ATTRIBUTES(AXIS(1))),
    ROW("reshape", "Reshape", .write = write_reshape),
    ROW("transpose", "Transpose", .write = write_transpose),
    ROW("slice", "Slice", .write = write_slice),
    ROW("dropout", NULL), /* nothing, outside of training */
    {0},
};

const OnnxOp *onnx_op_of(const Layer *layer) {
    for (const OnnxOp *op = onnx_ops; op->layer; op++)
        if (strcmp(op->layer, layer->name) == 0) return op;
    return NULL;
}

void onnx_attributes(const OnnxGraph *graph, const OnnxOp *op, const Node *node,
                     Onnx__NodeProto *to) {
    const Field *fields = op->fields ? op->fields : node->layer->fields;
    int spatial = node->shape.rank - 1;
    for (const OnnxAttribute *a = op->attribute; a->name; a++) {
        if (!a->field && a->value == a->absent) continue;
        const Field *field = a->field ? field_find(fields, a->field) : NULL;
        const void *place =
            field ? (const char *)node->spec + field->offset : (const void *)&a->value;
        CHECK(field || !a->field, "%s has no field %s", op->layer, a->field);
        a->form->write(graph->arena, spatial, place,
                       onnx_attribute(graph, to, a->name, a->form->type));
    }
}
