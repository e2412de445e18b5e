/* A quantized net in QDQ form. Each joined chain (weighted, batchnorm, relu) is its float operators
 * between the DequantizeLinears of what it reads and the QuantizeLinear of what it makes:
 *
 *   x_q -> DequantizeLinear --.
 *   conv1.weight_quantized -> DequantizeLinear -> Conv -> Relu -> QuantizeLinear -> relu1_q
 *   conv1.bias_quantized -> DequantizeLinear --'
 *
 * A runtime may take the pattern for one integer operator, or compute it as it stands. Names are
 * those that ONNX Runtime's quantizer gives. */
#include <string.h>

#include "nn/layers/batchnorm.h"
#include "quant/onnx/write.h"
#include "quant/outputs_first.h"
#include "quant/rules/integers.h"
#include "quant/rules/weighted.h"

#define TYPE(name) ONNX__TENSOR_PROTO__DATA_TYPE__##name

static const Shape scalar = {0};

typedef struct Qdq {
    OnnxWriter *to;
    const QuantNet *net;
    const char *grid[GRAPH_MAX_NODES]; /* whose scale and zero point the value of node i has */
    const Node *output;                /* whose value is the net's result */
} Qdq;

#define TEXT(w, ...) arena_text((w)->to->graph.arena, __VA_ARGS__)

/* --- grids of values --- */

static const char *code_tensor(const Qdq *w, const char *name, bool is_signed, int32_t code) {
    uint8_t *byte = arena_alloc(w->to->graph.arena, 1);
    *byte = (uint8_t)code; /* of both types, the same bits */
    return onnx_tensor(&w->to->graph, name, is_signed ? TYPE(INT8) : TYPE(UINT8), 1, &scalar, byte);
}

static const char *scale_name(const Qdq *w, const char *grid) {
    return TEXT(w, "%s_scale", grid);
}
static const char *zero_name(const Qdq *w, const char *grid) {
    return TEXT(w, "%s_zero_point", grid);
}

static void write_grid(const Qdq *w, const Quantizer *quantizer, const char *grid) {
    onnx_floats(&w->to->graph, scale_name(w, grid), &scalar, quantizer->q.scale);
    code_tensor(w, zero_name(w, grid), quantizer->spec.is_signed, quantizer->q.zero_point[0]);
}

/* Eight bits saturate by their type; of fewer, or without the lowest code, that takes a Clip. */
static const char *clip_codes(const Qdq *w, const Quantizer *quantizer, const char *value,
                              const char *codes) {
    bool is_signed = quantizer->spec.is_signed;
    const QParams *q = &quantizer->q;
    if (q->qmin == (is_signed ? INT8_MIN : 0) && q->qmax == (is_signed ? INT8_MAX : UINT8_MAX))
        return codes;
    const char *in[] = {codes, code_tensor(w, TEXT(w, "%s_qmin", value), is_signed, q->qmin),
                        code_tensor(w, TEXT(w, "%s_qmax", value), is_signed, q->qmax)};
    const char *clipped = TEXT(w, "%s_Clip_Output", value);
    onnx_node(&w->to->graph, "Clip", TEXT(w, "%s_Clip", value), 3, in, clipped);
    return clipped;
}

/* Rounds `value`, whose tensor is called `real`, to the grid of node q: the result is what others
 * read. */
static const char *round_value(Qdq *w, const QNode *q, const char *value, const char *real) {
    const OnnxGraph *graph = &w->to->graph;
    int i = q->node->index;
    bool own = q->rule->owns_range, result = q->node == w->output && q->node->inputs > 0;
    w->grid[i] = own ? value : w->grid[q->node->in[0]];
    if (own) write_grid(w, q->out, value);
    const char *scale = scale_name(w, w->grid[i]), *zero = zero_name(w, w->grid[i]);
    const char *codes = TEXT(w, "%s_QuantizeLinear_Output", value);
    const char *rounded = result ? value : TEXT(w, "%s_DequantizeLinear_Output", value);
    onnx_node(graph, "QuantizeLinear", TEXT(w, "%s_QuantizeLinear", value), 3,
              (const char *[]){real, scale, zero}, codes);
    if (own) codes = clip_codes(w, q->out, value, codes);
    onnx_node(graph, "DequantizeLinear", TEXT(w, "%s_DequantizeLinear", value), 3,
              (const char *[]){codes, scale, zero}, rounded);
    return rounded;
}

/* --- weights --- */

/* DequantizeLinear of the initializer `base`_quantized, whose scales and zero points, along `axis`
 * if they are several, are there already. */
static const char *dequantize_param(const Qdq *w, const char *base, const char *scale,
                                    const char *zero, int channels, int axis) {
    const char *out = TEXT(w, "%s_DequantizeLinear_Output", base);
    Onnx__NodeProto *node =
        onnx_node(&w->to->graph, "DequantizeLinear", TEXT(w, "%s_DequantizeLinear", base), 3,
                  (const char *[]){TEXT(w, "%s_quantized", base), scale, zero}, out);
    if (channels > 1) {
        Onnx__AttributeProto *attribute =
            onnx_attribute(&w->to->graph, node, "axis", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
        attribute->has_i = true;
        attribute->i = axis;
    }
    return out;
}

/* The scales as DequantizeLinear wants them: one for each index along one axis of the weight's own
 * layout. With several groups of several outputs there is no such axis. */
typedef struct Axis {
    int axis, length; /* length 1: one scale in all */
    int repeat;       /* each scale stands for so many indices */
} Axis;

static bool weight_axis(const QNode *q, Axis *axis, Error *error) {
    WeightLayout layout = node_layout(q->node);
    const WeightedIntegers *integers = q->integers;
    *axis = (Axis){0, integers->grid.channels, 1};
    if (integers->grid.channels == 1 || !q->node->layer->layout) return true; /* outputs first */
    if (layout.block == layout.outputs)
        axis->axis = 1;
    else if (layout.block == 1)
        *axis = (Axis){0, layout.outputs * layout.runs, layout.runs};
    else
        return error_set(error, ERROR_INPUT,
                         "%s: a transposed convolution with groups of several outputs has no axis "
                         "for a scale per channel: calibrate it --per-tensor",
                         q->node->name);
    return true;
}

static const char *write_weight(const Qdq *w, const QNode *q, Error *error) {
    const OnnxGraph *graph = &w->to->graph;
    const WeightedIntegers *integers = q->integers;
    Axis axis;
    if (!weight_axis(q, &axis, error)) return NULL;
    float *scale = arena_alloc(graph->arena, sizeof *scale * (size_t)axis.length);
    int8_t *zero = arena_alloc(graph->arena, (size_t)axis.length);
    for (int c = 0; c < axis.length; c++) {
        scale[c] = integers->grid.scale[c / axis.repeat];
        zero[c] = (int8_t)integers->grid.zero_point[c / axis.repeat];
    }
    const char *base = TEXT(w, "%s.weight", q->node->name);
    Shape channels = axis.length > 1 ? SHAPE(axis.length) : scalar;
    onnx_tensor(graph, TEXT(w, "%s_quantized", base), TYPE(INT8), 1,
                &node_tensor(q->node, "weight")->shape, integers->stored);
    onnx_floats(graph, scale_name(w, base), &channels, scale);
    onnx_tensor(graph, zero_name(w, base), TYPE(INT8), 1, &channels, zero);
    return dequantize_param(w, base, scale_name(w, base), zero_name(w, base), axis.length,
                            axis.axis);
}

/* S_b = S_x S_w, Z = 0 (N4). */
static const char *write_bias(const Qdq *w, const QNode *q) {
    const OnnxGraph *graph = &w->to->graph;
    const WeightedIntegers *integers = q->integers;
    int channels = integers->grid.channels;
    float *scale = arena_alloc(graph->arena, sizeof *scale * (size_t)channels);
    for (int c = 0; c < channels; c++) scale[c] = q->in[0]->q.scale[0] * integers->grid.scale[c];
    int32_t *zero = arena_zeros(graph->arena, sizeof *zero * (size_t)channels);
    const char *base = TEXT(w, "%s.bias", q->node->name);
    const char *codes = TEXT(w, "%s_quantized", base);
    Shape shape = channels > 1 ? SHAPE(channels) : scalar;
    onnx_tensor(graph, codes, TYPE(INT32), sizeof *zero, &SHAPE(integers->outputs), integers->bias);
    onnx_floats(graph, scale_name(w, codes), &shape, scale);
    onnx_tensor(graph, zero_name(w, codes), TYPE(INT32), sizeof *zero, &shape, zero);
    return dequantize_param(w, base, scale_name(w, codes), zero_name(w, codes), channels, 0);
}

/* A lone batchnorm, folded into the identity, normalises with mean 0 and variance 1. */
static void write_lone_batchnorm(const Qdq *w, const QNode *q, const char *const in[],
                                 const char *weight, const char *bias, const char *out) {
    const OnnxGraph *graph = &w->to->graph;
    Shape shape = node_tensor(q->node, "running_var")->shape;
    float *zeros = arena_zeros(graph->arena, sizeof *zeros * (size_t)shape.dim[0]);
    float *ones = arena_alloc(graph->arena, sizeof *ones * (size_t)shape.dim[0]);
    for (int c = 0; c < shape.dim[0]; c++) ones[c] = 1;
    const char *mean = TEXT(w, "%s.running_mean", q->node->name);
    const char *var = TEXT(w, "%s.running_var", q->node->name);
    onnx_floats(graph, mean, &shape, zeros);
    onnx_floats(graph, var, &shape, ones);
    Node plain = *q->node;
    BatchNormLayerSpec *spec = arena_alloc(graph->arena, sizeof *spec);
    *spec = *(const BatchNormLayerSpec *)q->node->spec;
    spec->eps = 0;
    plain.spec = spec;
    onnx_layer(w->to, &plain, in, 4, (const char *[]){weight, bias, mean, var}, out);
}

static bool write_weighted(const Qdq *w, const QNode *q, const char *const in[], const char *out,
                           Error *error) {
    const char *param[] = {write_weight(w, q, error), NULL};
    if (!param[0]) return false;
    bool biased = q->batchnorm || node_tensor(q->node, "bias");
    if (biased) param[1] = write_bias(w, q);
    if (q->batchnorm == q->node)
        write_lone_batchnorm(w, q, in, param[0], param[1], out);
    else
        onnx_layer(w->to, q->node, in, 1 + biased, param, out);
    return true;
}

/* A weighted layer that stays float, with the batchnorm that it absorbed. */
static void write_folded(const Qdq *w, const QNode *q, const char *const in[], const char *out) {
    Tape tape = {.arena = w->to->graph.arena};
    Folded folded = weighted_fold(&tape, q, q->batchnorm);
    const Tensor *weight = op_layer_order(&tape, folded.weight, q->node);
    const char *param[] = {TEXT(w, "%s.weight", q->node->name), TEXT(w, "%s.bias", q->node->name)};
    onnx_floats(&w->to->graph, param[0], &weight->shape, weight->data);
    if (folded.bias) onnx_floats(&w->to->graph, param[1], &folded.bias->shape, folded.bias->data);
    onnx_layer(w->to, q->node, in, folded.bias ? 2 : 1, param, out);
}

/* --- the walk --- */

/* The value is that of the node before: absorbed there, or a dropout. */
static bool passes(const QNode *q) {
    return q->into || (q->node->inputs > 0 && !onnx_op_of(q->node->layer)->op_type);
}

/* The layer itself, before its relu and its rounding. */
static bool write_layer(const Qdq *w, const QNode *q, const char *const in[], const char *out,
                        Error *error) {
    if (q->rule->arrays && !q->is_float) return write_weighted(w, q, in, out, error);
    if (q->rule->arrays)
        write_folded(w, q, in, out);
    else
        onnx_float_layer(w->to, q->node, in, out);
    return true;
}

/* One node with all that it absorbed. */
static bool write_chain(Qdq *w, const QNode *q, Error *error) {
    const char *in[LAYER_MAX_INPUTS];
    onnx_inputs(w->to, q->node, in);
    const Node *last = q->relu ? q->relu : q->node;
    const char *name = last->name; /* the value's */
    bool round = !q->out->bypassed, first = q->node->inputs == 0;
    const char *real =
        round && q->node == w->output ? TEXT(w, "%s_QuantizeLinear_Input", name) : name;
    const char *before = q->relu ? q->node->name : real;
    if (!first && !write_layer(w, q, in, before, error)) return false;
    if (q->relu) onnx_layer(w->to, q->relu, &before, 0, NULL, real);
    w->to->value[q->node->index] = round ? round_value(w, q, name, first ? name : real) : name;
    return true;
}

static bool grids_fit(const QNode *q, Error *error) {
    bool fine = q->rule->arrays && !q->is_float && q->weight.bits > BITS_MOST;
    if (!fine && (q->out->bypassed || q->out->spec.bits <= BITS_MOST)) return true;
    return error_set(error, ERROR_INPUT, "%s: more than %d bits: opset %d rounds to 8 at most",
                     q->node->name, BITS_MOST, ONNX_OPSET);
}

bool onnx_write_quantized(OnnxWriter *writer, const QuantNet *net, Error *error) {
    const Graph *graph = net->graph;
    Qdq w = {.to = writer, .net = net, .output = graph_output(graph)};
    while (passes(&net->node[w.output->index])) w.output = &graph->node[w.output->in[0]];
    for (int i = 0; i < graph->nodes; i++) {
        const QNode *q = &net->node[i];
        if (passes(q)) {
            int from = q->node->in[0];
            writer->value[i] = writer->value[from];
            w.grid[i] = w.grid[from];
        } else if (!grids_fit(q, error) || !write_chain(&w, q, error)) {
            return false;
        }
    }
    return true;
}
