/* Layers that ONNX writes as something else. */
#include <math.h>
#include <string.h>

#include "nn/layers/hardtanh.h"
#include "nn/layers/pool.h"
#include "quant/onnx/read_affine.h"
#include "quant/onnx/read_axes.h"

/* The number of input k or of an attribute, as one opset or the next has it. */
static bool read_bound(OnnxReader *reader, const Onnx__NodeProto *node, const char *name, size_t k,
                       float absent, float *bound) {
    *bound = onnx_float_of(node, name, absent);
    if (k >= node->n_input || !*node->input[k]) return true;
    const OnnxConstant *known = onnx_known(reader, node, k);
    if (known && known->f && known->count == 1) *bound = known->f[0];
    return known && known->f && known->count == 1;
}

/* Clip: relu, relu6 or hardtanh. Of codes: their ends. */
void onnx_read_clip(OnnxReader *reader, const Onnx__NodeProto *node) {
    const OnnxValue *x = onnx_value(reader, node, 0);
    if (x && x->codes) {
        onnx_clip_codes(reader, node);
        return;
    }
    float least, most;
    int in = onnx_real(reader, node, 0);
    if (in < 0) return;
    if (!read_bound(reader, node, "min", 1, -INFINITY, &least) ||
        !read_bound(reader, node, "max", 2, INFINITY, &most)) {
        onnx_fault(reader, node, "its ends are not known");
        return;
    }
    const char *name = least != 0 ? NULL : most == 6 ? "relu6" : most > 3e38f ? "relu" : NULL;
    HardtanhSpec ends = {fmaxf(least, -1e38f), fminf(most, 1e38f)}; /* as far as a .net text goes */
    if (name)
        onnx_add(reader, node, layer_find(name), NULL, 1, &in);
    else if (least < most)
        onnx_add(reader, node, layer_find("hardtanh"), &ends, 1, &in);
    else
        onnx_fault(reader, node, "from %g to %g: there is nothing between", (double)least,
                   (double)most);
}

/* A dropout stays one: what is fine-tuned drops values again. A file says that it was training,
 * where it computes something else. */
void onnx_read_dropout(OnnxReader *reader, const Onnx__NodeProto *node) {
    float p;
    int in = onnx_real(reader, node, 0);
    if (in < 0) return;
    bool known = read_bound(reader, node, "ratio", 1, 0.5f, &p);
    const OnnxConstant *training = onnx_known(reader, node, 2);
    bool trains = (training && (!training->i || training->count != 1 || training->i[0])) ||
                  (!training && node->n_input > 2 && *node->input[2]) ||
                  (reader->opset < 7 && !onnx_int_of(node, "is_test", 0));
    if (!known || !(p >= 0 && p <= 0.99f) || (trains && p > 0))
        onnx_fault(reader, node, "its ratio is not known or above 0.99, or it is training");
    else
        onnx_add(reader, node, layer_find("dropout"), &p, 1, &in);
}

/* HardSigmoid(x) = alpha x + beta between 0 and 1. x HardSigmoid(x) with alpha 1/6 is hardswish. */
void onnx_read_hardsigmoid(OnnxReader *reader, const Onnx__NodeProto *node) {
    int in = onnx_real(reader, node, 0);
    if (in < 0) return;
    const OnnxValue *gate = onnx_value_named(reader, node->output[0]);
    const Onnx__NodeProto *next =
        gate->readers == 1 && gate->reader >= 0 ? reader->proto->node[gate->reader] : NULL;
    bool product =
        next && strcmp(next->op_type, "Mul") == 0 && next->n_input == 2 && next->n_output > 0;
    const OnnxValue *a = product ? onnx_value(reader, next, 0) : NULL;
    const OnnxValue *b = product ? onnx_value(reader, next, 1) : NULL;
    const OnnxValue *other = a == gate ? b : a;
    float alpha = onnx_float_of(node, "alpha", 0.2f), beta = onnx_float_of(node, "beta", 0.5f);
    if (other && other->node == in && !other->codes && fabsf(alpha - 1.0f / 6) <= 1e-6f &&
        beta == 0.5f) {
        reader->done[gate->reader] = true;
        onnx_add(reader, next, layer_find("hardswish"), NULL, 1, &in);
        return;
    }
    static const HardtanhSpec ends = {0, 1};
    in = onnx_add_scaled(reader, node, in, (double)alpha, (double)beta);
    if (in >= 0) onnx_add(reader, node, layer_find("hardtanh"), &ends, 1, &in);
}

/* The mean over some spatial dimensions: one window in each, of the whole size. */
static Node *add_windows(OnnxReader *reader, const Onnx__NodeProto *node, int in, unsigned axes) {
    const Shape from = reader->net->node[in].shape;
    int spatial = from.rank - 1;
    const Layer *layer = layer_find("avgpool");
    PoolSpec *spec = onnx_spec(reader, layer, spatial);
    spec->window = window_identity();
    for (int i = 0; i < spatial; i++)
        if (axes >> (2 + i) & 1) spec->window.kernel[SPATIAL - spatial + i] = from.dim[1 + i];
    for (int d = 0; d < SPATIAL; d++) {
        spec->window.stride[d] = spec->window.kernel[d];
        if (spec->window.kernel[d] <= 255) continue;
        onnx_fault(reader, node, "the mean of more than 255 values");
        return NULL;
    }
    return onnx_add(reader, node, layer, spec, 1, &in);
}

static Node *add_global(OnnxReader *reader, const Onnx__NodeProto *node, int in) {
    const Layer *layer = layer_find("globalavgpool");
    int spatial = reader->net->node[in].shape.rank - 1;
    return onnx_add(reader, node, layer, onnx_spec(reader, layer, spatial), 1, &in);
}

/* The mean over channels too: what stays comes first, as channels, the rest is one dimension. */
static Node *add_turned(OnnxReader *reader, const Onnx__NodeProto *node, int in, unsigned axes) {
    unsigned all = (2u << reader->net->node[in].shape.rank) - 2;
    OnnxFront front;
    in = onnx_to_front(reader, node, in, all & ~axes, &front);
    return in < 0 ? NULL : add_global(reader, node, in);
}

/* ReduceMean over any dimensions but the batch, all of them pooled. */
void onnx_read_reducemean(OnnxReader *reader, const Onnx__NodeProto *node) {
    int in = onnx_real(reader, node, 0);
    if (in < 0) return;
    const OnnxConstant *axes = onnx_ints(reader, node, "axes", 1);
    Shape shape = reader->net->node[in].shape;
    int rank = shape.rank + 1;
    unsigned seen = 0, spatial = (1u << rank) - 4;
    for (size_t i = 0; axes && i < axes->count; i++) {
        int64_t axis = axes->i[i] < 0 ? axes->i[i] + rank : axes->i[i];
        seen |= axis > 0 && axis < rank ? 1u << axis : 1;
    }
    if (!seen || seen & 1) {
        onnx_fault(reader, node, "it takes the mean over the batch, or over no dimension");
        return;
    }
    bool turned = seen & 2 || rank > 2 + SPATIAL;
    Node *mean = turned            ? add_turned(reader, node, in, seen)
                 : seen == spatial ? add_global(reader, node, in)
                                   : add_windows(reader, node, in, seen);
    bool kept = onnx_int_of(node, "keepdims", 1);
    Shape left = {0};
    for (int d = 0; d < shape.rank; d++)
        if (kept || !(seen >> (1 + d) & 1))
            left.dim[left.rank++] = seen >> (1 + d) & 1 ? 1 : shape.dim[d];
    if (!mean || shape_equal(&left, &mean->shape)) return;
    if (left.rank == 0) {
        onnx_makes_single(reader, node, mean->index);
        return;
    }
    bool flat = seen == spatial; /* of the channels' means */
    onnx_add(reader, node, layer_find(flat ? "flatten" : "reshape"), flat ? NULL : &left, 1,
             &mean->index);
}

/* Zeros around a value, for the convolution or the mean behind it. */
void onnx_read_pad(OnnxReader *reader, const Onnx__NodeProto *node) {
    int in = onnx_real(reader, node, 0);
    if (in < 0) return;
    const OnnxConstant *pads = onnx_ints(reader, node, "pads", 1);
    const OnnxConstant *filling = onnx_known(reader, node, 2);
    const Onnx__AttributeProto *mode = onnx_attribute_find(node, "mode");
    int rank = reader->net->node[in].shape.rank + 1, spatial = rank - 2;
    bool zeros = (!mode || onnx_says(mode, "constant")) && onnx_float_of(node, "value", 0) == 0 &&
                 (node->n_input < 3 || !*node->input[2] ||
                  (filling && filling->f && filling->count == 1 && filling->f[0] == 0)) &&
                 node->n_input < 4;
    if (!zeros || !pads || pads->count != (size_t)(2 * rank) || spatial > SPATIAL) {
        onnx_fault(reader, node, "only zeros, so many on each side that are known, can be had");
        return;
    }
    OnnxValue *to = onnx_value_named(reader, node->output[0]);
    for (int d = 0; d < rank; d++) {
        int64_t before = pads->i[d], after = pads->i[d + rank];
        if (before < 0 || before > ONNX_PADDING || after < 0 || after > ONNX_PADDING ||
            (d < 2 && (before || after))) {
            onnx_fault(reader, node, "only zeros around the spatial dimensions can be had");
            return;
        }
        if (d < 2) continue;
        to->before[SPATIAL - spatial + d - 2] = (int)before;
        to->after[SPATIAL - spatial + d - 2] = (int)after;
    }
    to->node = in;
}
