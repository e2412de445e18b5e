/* Numbers that meet every value of a channel: the Add behind a MatMul, the Div, Add and
 * BatchNormalization that PyTorch writes behind a convolution with rounded weights, the Sub and Div
 * that normalise an image inside of a net. In a row they are one map, y = gain x + shift for each
 * channel; behind a layer with weights it is folded into them, else it is a batchnorm. Numbers that
 * differ along other dimensions are a batchnorm of those (read_axes.h). */
#include "quant/onnx/read_affine.h"
#include "quant/onnx/read_axes.h"

#include <math.h>
#include <string.h>

#include "nn/layers/batchnorm.h"

OnnxAffine onnx_identity_map(OnnxReader *reader, int outputs) {
    OnnxAffine map = {.outputs = outputs};
    map.gain = arena_alloc(reader->arena, sizeof(double) * (size_t)outputs);
    map.shift = arena_zeros(reader->arena, sizeof(double) * (size_t)outputs);
    for (int o = 0; o < outputs; o++) map.gain[o] = 1;
    return map;
}

/* The constant's dimensions against those of a value of `rank`, the batch's included: ends meet, or
 * (opset 6) its first is number `axis`. False: they do not fit. */
static bool aligned(const Onnx__NodeProto *node, const OnnxConstant *c, int rank, Shape *shape) {
    int64_t behind = rank - c->shape.rank, first = onnx_int_of(node, "axis", behind);
    if (behind < 0 || first < 0 || first > behind) return false;
    *shape = (Shape){.rank = rank};
    for (int d = 0; d < rank; d++) shape->dim[d] = 1;
    memcpy(shape->dim + first, c->shape.dim, sizeof(int) * (size_t)c->shape.rank);
    return true;
}

/* Is constant c one number for each output, or one for all, behind a value of `spatial` dimensions?
 */
static bool per_output(const Onnx__NodeProto *node, const OnnxConstant *c, int outputs,
                       int spatial) {
    Shape shape;
    return c && c->f && aligned(node, c, spatial + 2, &shape) &&
           (c->count == 1 || (shape.dim[1] == outputs && c->count == (size_t)outputs));
}

/* The dimensions along which the numbers differ, as bits; 0: they do not fit a value of that
 * sample, or differ from sample to sample. */
static unsigned differing(const Onnx__NodeProto *node, const OnnxConstant *c, const Shape *sample) {
    Shape shape;
    unsigned axes = 0;
    if (!c || !c->f || !aligned(node, c, sample->rank + 1, &shape)) return 0;
    for (int d = 0; d <= sample->rank; d++) {
        if (shape.dim[d] != 1 && (d == 0 || shape.dim[d] != sample->dim[d - 1])) return 0;
        axes |= (unsigned)(shape.dim[d] != 1) << d;
    }
    return axes;
}

double onnx_of_output(const OnnxConstant *c, int o) {
    return (double)c->f[c->count == 1 ? 0 : o];
}

/* Adds a BatchNormalization of known statistics to the map. */
static bool follow_batchnorm(OnnxReader *reader, const Onnx__NodeProto *node, OnnxAffine *map) {
    const OnnxConstant *part[4];
    for (size_t k = 0; k < 4; k++) {
        part[k] = onnx_known(reader, node, k + 1);
        if (!part[k] || !part[k]->f || part[k]->count != (size_t)map->outputs) return false;
    }
    if (onnx_int_of(node, "training_mode", 0)) return false;
    double eps = (double)onnx_float_of(node, "epsilon", 1e-5f);
    for (int o = 0; o < map->outputs; o++) {
        double gain = (double)part[0]->f[o] / sqrt((double)part[3]->f[o] + eps);
        map->gain[o] *= gain;
        map->shift[o] = (map->shift[o] - (double)part[2]->f[o]) * gain + (double)part[1]->f[o];
    }
    return true;
}

/* Adds the node, whose input `second` is the constant, one number an output or one for all, to the
 * map. False: it divides by x. */
static bool compose(const Onnx__NodeProto *node, size_t second, const OnnxConstant *c,
                    OnnxAffine *map) {
    static const struct {
        const char *op_type;
        bool either; /* order of operands */
        double times, plus, over;
    } kinds[] = {{"Add", true, 0, 1, 0},
                 {"Sub", false, 0, -1, 0},
                 {"Mul", true, 1, 0, 0},
                 {"Div", false, 0, 0, 1}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(node->op_type, kinds[i].op_type) != 0) continue;
        bool from = !second && kinds[i].plus < 0; /* c - x */
        if (!second && !kinds[i].either && !from) return false;
        for (int o = 0; o < map->outputs; o++) {
            double value = onnx_of_output(c, o);
            double gain = kinds[i].times ? value : kinds[i].over ? 1 / value : from ? -1 : 1;
            map->gain[o] *= gain;
            map->shift[o] = map->shift[o] * gain + (from ? 1 : kinds[i].plus) * value;
        }
        return true;
    }
    return false;
}

/* Adds the node, which reads the value called `name`, to the map, if it is such a one. */
static bool follow(OnnxReader *reader, const Onnx__NodeProto *node, const char *name, bool rounded,
                   int spatial, OnnxAffine *map) {
    if (rounded && strcmp(node->op_type, "BatchNormalization") == 0 && node->n_input == 5)
        return strcmp(node->input[0], name) == 0 && follow_batchnorm(reader, node, map);
    if (node->n_input != 2) return false;
    size_t second = strcmp(node->input[0], name) == 0;
    const OnnxConstant *c = onnx_known(reader, node, second);
    if (c && c->count != 1 && reader->axes) return false; /* who knows which axis they are for */
    return per_output(node, c, map->outputs, spatial) && compose(node, second, c, map);
}

const Onnx__NodeProto *onnx_follow_all(OnnxReader *reader, const Onnx__NodeProto *node,
                                       bool rounded, int spatial, OnnxAffine *map, bool *shifts) {
    for (bool any = false;; any = true) {
        if (shifts) *shifts = any;
        const OnnxValue *value = onnx_value_named(reader, node->output[0]);
        if (value->readers != 1 || value->reader < 0) return node;
        const Onnx__NodeProto *next = reader->proto->node[value->reader];
        if (!next->n_output || !*next->output[0] ||
            !follow(reader, next, value->name, rounded, spatial, map))
            return node;
        reader->done[value->reader] = true;
        node = next;
    }
}

/* A batchnorm that does what the map says to the channels of `in`; -1: the fault is noted. */
static int add_map(OnnxReader *reader, const Onnx__NodeProto *node, int in, const OnnxAffine *map) {
    const Layer *layer = layer_find("batchnorm");
    BatchNormLayerSpec *spec = onnx_spec(reader, layer, reader->net->node[in].shape.rank - 1);
    spec->eps = 1e-12f; /* nothing to a variance of 1 */
    Node *added = onnx_add(reader, node, layer, spec, 1, &in);
    if (!added) return -1;
    Tensor *gain = node_tensor(added, "weight"), *shift = node_tensor(added, "bias");
    Tensor *var = node_tensor(added, "running_var");
    for (int o = 0; o < map->outputs; o++) {
        gain->data[o] = (float)map->gain[o];
        shift->data[o] = (float)map->shift[o];
        var->data[o] = 1;
    }
    if (floats_finite(gain->data, gain->count) && floats_finite(shift->data, shift->count))
        return added->index;
    onnx_fault(reader, node, "its numbers make NaN or infinity");
    return -1;
}

int onnx_add_scaled(OnnxReader *reader, const Onnx__NodeProto *node, int in, double gain,
                    double shift) {
    OnnxFront front;
    int first = onnx_to_front(reader, node, in, 1u << 1, &front);
    if (first < 0) return -1;
    OnnxAffine map = onnx_identity_map(reader, reader->net->node[first].shape.dim[0]);
    for (int o = 0; o < map.outputs; o++) {
        map.gain[o] = gain;
        map.shift[o] = shift;
    }
    int index = add_map(reader, node, first, &map);
    return index < 0 ? -1 : onnx_from_front(reader, node, index, &front);
}

/* A map that no layer with weights is before; of numbers for each channel with all that follows. */
static void read_map(OnnxReader *reader, const Onnx__NodeProto *node, size_t k) {
    int in = onnx_real(reader, node, k);
    if (in < 0) return;
    const OnnxConstant *c = onnx_known(reader, node, 1 - k);
    const Shape shape = reader->net->node[in].shape;
    int spatial = shape.rank - 1;
    bool by_channel = per_output(node, c, shape.dim[0], spatial);
    unsigned axes = by_channel ? 1u << 1 : differing(node, c, &shape);
    OnnxFront front;
    if (!axes) {
        onnx_fault(reader, node, "its numbers differ from sample to sample, or do not fit %s",
                   shape_text(&shape, (char[SHAPE_TEXT]){0}));
        return;
    }
    int first = onnx_to_front(reader, node, in, axes, &front);
    if (first < 0) return;
    OnnxAffine map = onnx_identity_map(reader, reader->net->node[first].shape.dim[0]);
    if (!compose(node, 1 - k, c, &map)) {
        onnx_fault(reader, node, "it divides by a value");
        return;
    }
    const Onnx__NodeProto *last =
        by_channel ? onnx_follow_all(reader, node, false, spatial, &map, NULL) : node;
    int index = add_map(reader, node, first, &map);
    if (index >= 0) onnx_from_front(reader, last, index, &front);
}

/* x - y, of which no layer is: x + (-1) y. */
static void read_difference(OnnxReader *reader, const Onnx__NodeProto *node) {
    int in[2];
    for (size_t k = 0; k < 2; k++)
        if ((in[k] = onnx_real(reader, node, k)) < 0) return;
    in[1] = onnx_add_scaled(reader, node, in[1], -1, 0);
    if (in[1] >= 0) onnx_add(reader, node, layer_find("add"), NULL, 2, in);
}

void onnx_read_pair(OnnxReader *reader, const Onnx__NodeProto *node) {
    for (size_t k = 0; k < 2; k++)
        if (onnx_known(reader, node, 1 - k)) {
            read_map(reader, node, k);
            return;
        }
    if (strcmp(node->op_type, "Sub") == 0)
        read_difference(reader, node);
    else if (strcmp(node->op_type, "Div") == 0)
        onnx_fault(reader, node, "it divides by a value");
    else
        onnx_read_layer(reader, node);
}
