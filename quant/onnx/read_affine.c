/* Numbers that meet every value of a channel: the Add behind a MatMul, the Div, Add and
 * BatchNormalization that PyTorch writes behind a convolution with rounded weights, the Sub and Div
 * that normalise an image inside of a net. In a row they are one map, y = gain x + shift for each
 * channel; behind a layer with weights it is folded into them, else it is a batchnorm. */
#include "quant/onnx/read_affine.h"

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

/* Is constant c one number for each output, or one for all, behind a value of `spatial` dimensions?
 */
static bool per_output(const OnnxConstant *c, int outputs, int spatial) {
    if (!c || !c->f) return false;
    if (c->count == 1) return c->shape.rank <= spatial + 2;
    int at = c->shape.rank - 1 - spatial; /* where the channels are, counted from the end */
    return at >= 0 && at <= 1 && c->shape.dim[at] == outputs && c->count == (size_t)outputs;
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

/* Adds the node, which reads the value called `name`, to the map, if it is such a one. */
static bool follow(OnnxReader *reader, const Onnx__NodeProto *node, const char *name, bool rounded,
                   int spatial, OnnxAffine *map) {
    if (rounded && strcmp(node->op_type, "BatchNormalization") == 0 && node->n_input == 5)
        return strcmp(node->input[0], name) == 0 && follow_batchnorm(reader, node, map);
    static const struct {
        const char *op_type;
        bool either; /* order of operands */
        double times, plus, over;
    } kinds[] = {{"Add", true, 0, 1, 0},
                 {"Sub", false, 0, -1, 0},
                 {"Mul", true, 1, 0, 0},
                 {"Div", false, 0, 0, 1}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(node->op_type, kinds[i].op_type) != 0 || node->n_input != 2) continue;
        bool second = strcmp(node->input[0], name) == 0;
        bool from = !second && kinds[i].plus < 0; /* c - x */
        if (!second && !kinds[i].either && !from) return false;
        const OnnxConstant *c = onnx_known(reader, node, second);
        if (!per_output(c, map->outputs, spatial)) return false;
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

/* A map that no layer with weights is before. */
static void read_map(OnnxReader *reader, const Onnx__NodeProto *node, size_t k) {
    int in = onnx_real(reader, node, k);
    if (in < 0) return;
    const Shape *shape = &reader->net->node[in].shape;
    int spatial = shape->rank - 1;
    OnnxAffine map = onnx_identity_map(reader, shape->dim[0]);
    if (!follow(reader, node, node->input[k], false, spatial, &map)) {
        onnx_fault(reader, node, "its constant is no number for each channel, or divides by x");
        return;
    }
    const Onnx__NodeProto *last = onnx_follow_all(reader, node, false, spatial, &map, NULL);
    const Layer *layer = layer_find("batchnorm");
    BatchNormLayerSpec *spec = onnx_spec(reader, layer, spatial);
    spec->eps = 1e-12f; /* nothing to a variance of 1 */
    Node *added = onnx_add(reader, node, layer, spec, 1, &in);
    if (!added) return;
    Tensor *gain = node_tensor(added, "weight"), *shift = node_tensor(added, "bias");
    Tensor *var = node_tensor(added, "running_var");
    for (int o = 0; o < map.outputs; o++) {
        gain->data[o] = (float)map.gain[o];
        shift->data[o] = (float)map.shift[o];
        var->data[o] = 1;
    }
    if (floats_finite(gain->data, gain->count) && floats_finite(shift->data, shift->count))
        onnx_makes(reader, last, added->index);
    else
        onnx_fault(reader, node, "its numbers make NaN or infinity");
}

void onnx_read_pair(OnnxReader *reader, const Onnx__NodeProto *node) {
    bool layer = strcmp(node->op_type, "Add") == 0 || strcmp(node->op_type, "Mul") == 0;
    for (size_t k = 0; k < 2; k++)
        if (onnx_known(reader, node, 1 - k)) {
            read_map(reader, node, k);
            return;
        }
    if (layer)
        onnx_read_layer(reader, node);
    else
        onnx_fault(reader, node, "of two values: only with known numbers can it be had");
}
