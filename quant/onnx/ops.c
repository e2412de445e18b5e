#include "quant/onnx/ops.h"

#include <math.h>
#include <string.h>

#include "nn/layers/pool.h"
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

static void repeat_sizes(Arena *arena, int spatial, const int *sizes, int times,
                         Onnx__AttributeProto *to) {
    to->n_ints = (size_t)(spatial * times);
    to->ints = arena_alloc(arena, sizeof *to->ints * to->n_ints);
    for (int i = 0; i < spatial * times; i++) to->ints[i] = sizes[SPATIAL - spatial + i % spatial];
}

static void write_sizes(Arena *arena, int spatial, const void *place, Onnx__AttributeProto *to) {
    repeat_sizes(arena, spatial, place, 1, to);
}

static void write_pads(Arena *arena, int spatial, const void *place, Onnx__AttributeProto *to) {
    repeat_sizes(arena, spatial, place, 2, to);
}

#define TYPE(name) ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__##name
const OnnxForm onnx_int = {TYPE(INT), write_int};
const OnnxForm onnx_float = {TYPE(FLOAT), write_float};
const OnnxForm onnx_sizes = {TYPE(INTS), write_sizes};
const OnnxForm onnx_pads = {TYPE(INTS), write_pads};
const OnnxForm onnx_rest = {TYPE(FLOAT), write_rest};

/* --- layers that are no plain node --- */

static void write_reshape(const OnnxGraph *graph, const Node *node, const char *const in[],
                          const char *out) {
    onnx_reshape(graph, node->name, in[0], &node->shape, out);
}

static void write_relu6(const OnnxGraph *graph, const Node *node, const char *const in[],
                        const char *out) {
    static const Shape scalar = {0};
    const float *clamp = node->layer->clamp;
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
#define COUNT_PAD    ONLY("count_include_pad", onnx_int, 1, 0)
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
#define AVERAGE ATTRIBUTES(CEIL, COUNT_PAD, KERNEL, PADDING, STRIDE)

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
    ROW("relu6", "Clip", .write = write_relu6),
    ROW("leaky_relu", "LeakyRelu", ATTRIBUTES(ALPHA)),
    ROW("elu", "Elu", ATTRIBUTES(ELU_ALPHA)),
    ROW("hardswish", "HardSwish", .write = write_hardswish),
    ROW("sigmoid", "Sigmoid"),
    ROW("tanh", "Tanh"),
    ROW("softmax", "Softmax", ATTRIBUTES(AXIS(-1))),
    ROW("maxpool", "MaxPool", ATTRIBUTES(CEIL, DILATION, KERNEL, PADDING, STRIDE)),
    ROW("avgpool", "AveragePool", AVERAGE),
    ROW("globalavgpool", "GlobalAveragePool"),
    ROW("adaptiveavgpool", "AveragePool", AVERAGE, .fields = pool_fields), /* of its first part */
    ROW("add", "Add"),
    ROW("mul", "Mul"),
    ROW("concat", "Concat", ATTRIBUTES(AXIS(NAN))),
    ROW("flatten", "Flatten", ATTRIBUTES(AXIS(1))),
    ROW("reshape", "Reshape", .write = write_reshape),
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
