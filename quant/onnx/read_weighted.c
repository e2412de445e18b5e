/* Layers with weights: convolutions, Gemm, MatMul, BatchNormalization. Numbers that follow such a
 * layer for each of its outputs (read_affine.c) are folded into it: with y = g x + s the weights
 * become g w, the bias g b + s, and rounded weights keep their codes on a grid of scale |g| S. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "nn/layers/batchnorm.h"
#include "nn/layers/conv.h"
#include "nn/layers/conv_transpose.h"
#include "quant/onnx/read_affine.h"
#include "quant/onnx/read_axes.h"

/* --- rounded weights --- */

/* The scale and zero point of each output, from those along one axis of the weight's shape
 * (`stored`, which the codes have in the file; `outputs` are found through the layer's layout). */
static bool output_steps(OnnxReader *reader, const Onnx__NodeProto *node, const OnnxConstant *w,
                         const Node *layer, bool transposed, float scale[], int64_t zero[]) {
    WeightLayout layout = node_layout(layer);
    const Shape *shape = &w->shape;
    if (w->scales > 1 && (w->axis >= shape->rank || shape->dim[w->axis] != w->scales)) {
        onnx_fault(reader, node, "its weights have %d scales along axis %d", w->scales, w->axis);
        return false;
    }
    size_t inner = 1;
    for (int d = w->axis + 1; d < shape->rank; d++) inner *= (size_t)shape->dim[d];
    int depth = layout.runs * layout.run;
    for (int o = 0; o < layout.outputs; o++)
        for (int k = 0; k < depth; k++) {
            size_t at = transposed ? (size_t)k * (size_t)layout.outputs + (size_t)o
                                   : weight_index(&layout, o, k);
            size_t c = w->scales == 1 ? 0 : at / inner % (size_t)w->scales;
            if (k && (w->scale[c] != scale[o] || w->zero[c] != zero[o])) {
                onnx_fault(reader, node, "its weights have several scales for one output");
                return false;
            }
            scale[o] = w->scale[c];
            zero[o] = w->zero[c];
        }
    return true;
}

/* Notes the grid of the layer's weights: one scale, or one for each output, times the map's gains.
 * A gain below 0 turns codes round: around 0 by their signs, else, so that each stays one of 8
 * bits, q becomes -1 - q, and Z alike. */
static bool keep_grid(OnnxReader *reader, const Onnx__NodeProto *node, const OnnxConstant *w,
                      const Node *layer, bool transposed, const OnnxAffine *map) {
    GivenWeights *grid = arena_alloc(reader->arena, sizeof *grid);
    float *scale = arena_alloc(reader->arena, sizeof *scale * (size_t)map->outputs);
    int64_t *zero = arena_alloc(reader->arena, sizeof *zero * (size_t)map->outputs);
    *grid = (GivenWeights){.scales = w->scales == 1 ? 1 : map->outputs,
                           .scale = scale,
                           .full_range = w->least < -INT8_MAX};
    int64_t most = w->most;
    if (!output_steps(reader, node, w, layer, transposed, scale, zero)) return false;
    for (int o = 0; o < map->outputs; o++)
        if (zero[o]) grid->zero = zero;
    for (int o = 0; o < map->outputs; o++) {
        bool turned = map->gain[o] < 0;
        if (map->gain[o] != map->gain[0]) grid->scales = map->outputs;
        if (turned && grid->zero) zero[o] = -1 - zero[o];
        if (turned && !grid->zero && w->least < -w->most) most = -w->least; /* of -128: 128 */
        scale[o] = (float)(fabs(map->gain[o]) * (double)scale[o]);
        if (!(scale[o] >= FLT_MIN)) scale[o] = 1; /* no weight is left */
    }
    if (most > INT8_MAX) {
        onnx_fault(reader, node, "its weights have codes of more than 8 bits");
        return false;
    }
    reader->given.weight[layer->index] = grid;
    return true;
}

/* --- the layer --- */

/* Fills the weights and the bias (NULL: 0) of a layer that was added. `transposed`: the file has
 * [in, out]. */
static bool fill(OnnxReader *reader, const Onnx__NodeProto *node, const Node *layer,
                 const OnnxConstant *w, const OnnxConstant *b, bool transposed,
                 const OnnxAffine *map) {
    Tensor *weight = node_tensor(layer, "weight"), *bias = node_tensor(layer, "bias");
    WeightLayout layout = node_layout(layer);
    int depth = layout.runs * layout.run;
    if (w->count != weight->count || (!transposed && !shape_equal(&w->shape, &weight->shape))) {
        char have[SHAPE_TEXT], want[SHAPE_TEXT];
        onnx_fault(reader, node, "its weights are %s, expected %s", shape_text(&w->shape, have),
                   shape_text(&weight->shape, want));
        return false;
    }
    if (b && b->count != 1 && b->count != (size_t)layout.outputs) {
        onnx_fault(reader, node, "%zu biases for %d outputs", b->count, layout.outputs);
        return false;
    }
    for (int o = 0; o < layout.outputs; o++) {
        for (int k = 0; k < depth; k++) {
            size_t to = weight_index(&layout, o, k);
            size_t from = transposed ? (size_t)k * (size_t)layout.outputs + (size_t)o : to;
            weight->data[to] = (float)(map->gain[o] * (double)w->f[from]);
        }
        double value = b ? onnx_of_output(b, o) : 0;
        if (bias) bias->data[o] = (float)(map->gain[o] * value + map->shift[o]);
    }
    if (!floats_finite(weight->data, weight->count) ||
        (bias && !floats_finite(bias->data, bias->count))) {
        onnx_fault(reader, node, "its weights hold NaN or infinity");
        return false;
    }
    return !w->scales || keep_grid(reader, node, w, layer, transposed, map);
}

/* The known floats of input k; a fault if they are not. */
static const OnnxConstant *known_floats(OnnxReader *reader, const Onnx__NodeProto *node, size_t k,
                                        const char *what) {
    const OnnxConstant *known = onnx_known(reader, node, k);
    if (known && known->f) return known;
    onnx_fault(reader, node, "its %s are not known floats", what);
    return NULL;
}

static bool is_given(const Onnx__NodeProto *node, size_t k) {
    return k < node->n_input && *node->input[k];
}

/* What a layer's node has besides its attributes. */
typedef struct Weights {
    const OnnxConstant *w, *b; /* b NULL: none */
    int outputs;
    bool transposed; /* the file has [in, out] */
    int spatial;     /* dimensions that the file's value has behind its outputs, where numbers that
                        follow it are folded in; -1: none are */
} Weights;

/* Adds the layer of `node`, whose spec lacks its outputs and whether it has a bias. NULL: the fault
 * is noted; else *last is the node whose result it makes. */
static Node *add_weighted(OnnxReader *reader, const Onnx__NodeProto *node, const Layer *layer,
                          void *spec, int in, const Weights *from, const Onnx__NodeProto **last) {
    OnnxAffine map = onnx_identity_map(reader, from->outputs);
    bool shifts = false, rounded = from->w->scales > 0;
    bool channels = from->spatial == reader->net->node[in].shape.rank - 1; /* as a batchnorm's */
    *last = node;
    if (from->spatial >= 0)
        *last = onnx_follow_all(reader, node, rounded && channels, from->spatial, &map, &shifts);
    *(int *)((char *)spec + field_find(layer->fields, "out")->offset) = from->outputs;
    *(bool *)((char *)spec + field_find(layer->fields, "bias")->offset) = from->b || shifts;
    Node *added = onnx_add(reader, node, layer, spec, 1, &in);
    bool filled = added && fill(reader, node, added, from->w, from->b, from->transposed, &map);
    return filled ? added : NULL;
}

/* Sizes that a .net text may have; before anything is computed with them. */
static bool fits_text(OnnxReader *reader, const Onnx__NodeProto *node, const Window *window,
                      int64_t outputs) {
    bool ok = outputs >= 1 && outputs <= 1 << 16;
    for (int d = 0; d < SPATIAL; d++)
        ok &= window->padding[d] <= ONNX_PADDING && window_padding_end(window, d) <= ONNX_PADDING &&
              window->kernel[d] >= 1 && window->kernel[d] <= 255;
    if (!ok) onnx_fault(reader, node, "its sizes are larger than a convolution's may be");
    return ok;
}

/* The size of a transposed convolution's result may be said, by output_shape or as SAME (input
 * times stride), instead of its padding: what is too much is cut off both sides, what is missing is
 * added at the end. */
static bool read_result_size(OnnxReader *reader, const Onnx__NodeProto *node, int in, int spatial,
                             ConvTransposeSpec *map) {
    const OnnxConstant *said = onnx_ints(reader, node, "output_shape", node->n_input);
    OnnxAutoPad kind = onnx_auto_pad_of(node);
    Shape batched = shape_batched(&reader->net->node[in].shape, 1);
    int size[SPATIAL];
    window_sizes(&batched, size);
    if (kind == AUTO_PAD_UNKNOWN || (said && said->count != (size_t)spatial)) {
        onnx_fault(reader, node, "its auto_pad or output_shape is none");
        return false;
    }
    if (!said && kind == AUTO_PAD_NOT) return true;
    for (int i = 0; i < spatial; i++) {
        int d = SPATIAL - spatial + i;
        map->window.padding[d] = map->window.uneven[d] = 0;
        int64_t whole = conv_transpose_out(map, d, size[d]);
        int64_t wanted = said ? said->i[i] : (int64_t)size[d] * map->window.stride[d];
        if (!said && kind == AUTO_PAD_VALID) wanted = whole;
        if (wanted < 1 || wanted > whole + ONNX_PADDING) whole = INT32_MAX, wanted = 0;
        if (wanted > whole) {
            map->output_padding[d] += (int)(wanted - whole);
            whole = wanted;
        }
        int total = whole - wanted > INT16_MAX ? INT16_MAX : (int)(whole - wanted);
        if (!onnx_pad_sides(reader, node, &map->window, d, total, kind == AUTO_PAD_UPPER))
            return false;
    }
    return true;
}

/* Conv and ConvTranspose: weight [out, in/groups, kernel] or [in, out/groups, kernel]. */
void onnx_read_weighted(OnnxReader *reader, const Onnx__NodeProto *node) {
    OnnxValue *x = onnx_value(reader, node, 0);
    bool back = strcmp(node->op_type, "ConvTranspose") == 0;
    int in = back ? onnx_real(reader, node, 0) : onnx_padded(reader, node);
    if (in < 0) return;
    const OnnxConstant *w = known_floats(reader, node, 1, "weights");
    const OnnxConstant *b = is_given(node, 2) ? known_floats(reader, node, 2, "biases") : NULL;
    if (!w || (is_given(node, 2) && !b)) return;
    int spatial = reader->net->node[in].shape.rank - 1;
    const OnnxOp *op = onnx_op_for(node->op_type, spatial);
    if (!op || w->shape.rank != spatial + 2) {
        onnx_fault(reader, node, "weights of %d dimensions over %d spatial ones", w->shape.rank,
                   spatial);
        return;
    }
    const Layer *layer = layer_find(op->layer);
    void *spec = onnx_spec(reader, layer, spatial);
    Window *window =
        back ? &((ConvTransposeLayerSpec *)spec)->map.window : &((ConvLayerSpec *)spec)->window;
    *window = window_identity();
    for (int d = 0; d < spatial; d++) window->kernel[SPATIAL - spatial + d] = w->shape.dim[2 + d];
    if (!onnx_read_attributes(reader, node, op, spatial, spec)) return;
    int64_t outputs = back ? (int64_t)w->shape.dim[1] * ((ConvTransposeLayerSpec *)spec)->map.groups
                           : w->shape.dim[0];
    if (!fits_text(reader, node, window, outputs)) return;
    if (back ? !read_result_size(reader, node, in, spatial, &((ConvTransposeLayerSpec *)spec)->map)
             : !onnx_auto_pad(reader, node, in, window))
        return;
    if (!back) onnx_take_padding(x, window);
    if (!fits_text(reader, node, window, outputs)) return;
    const Onnx__NodeProto *last;
    Weights from = {w, b, (int)outputs, false, spatial};
    const Node *added = add_weighted(reader, node, layer, spec, in, &from, &last);
    if (added) onnx_makes(reader, last, added->index);
}

/* The constant times a factor. */
static const OnnxConstant *scaled(OnnxReader *reader, const OnnxConstant *c, float factor) {
    if (!c || factor == 1) return c;
    OnnxConstant *result = arena_alloc(reader->arena, sizeof *result);
    *result = *c;
    result->f = arena_alloc(reader->arena, sizeof(float) * c->count);
    for (size_t i = 0; i < c->count; i++) result->f[i] = c->f[i] * factor;
    return result;
}

/* x w of a value's last dimension, w [in, out] (PyTorch's linear layer over sequences): that
 * dimension as channels, in places of one. */
static void read_last(OnnxReader *reader, const Onnx__NodeProto *node, int in,
                      const OnnxConstant *w) {
    OnnxFront front;
    const Onnx__NodeProto *last;
    int first = onnx_to_front(reader, node, in, 1u << reader->net->node[in].shape.rank, &front);
    if (first < 0) return;
    const Layer *layer =
        layer_find(onnx_op_for("Conv", reader->net->node[first].shape.rank - 1)->layer);
    ConvLayerSpec *spec = onnx_spec(reader, layer, layer->spatial);
    spec->window = window_identity();
    if (!fits_text(reader, node, &spec->window, w->shape.dim[1])) return;
    /* before opset 7 what follows may say another axis */
    Weights from = {w, NULL, w->shape.dim[1], true, reader->opset < 7 ? -1 : 0};
    const Node *added = add_weighted(reader, node, layer, spec, first, &from, &last);
    int index = added ? onnx_from_front(reader, node, added->index, &front) : -1;
    if (index >= 0) onnx_makes(reader, last, index);
}

/* Gemm: alpha x w + beta b, w [in, out], or [out, in] with transB. MatMul: x w. A bias that is no
 * number but a value is added behind. */
void onnx_read_linear(OnnxReader *reader, const Onnx__NodeProto *node) {
    int in = onnx_real(reader, node, 0);
    if (in < 0) return;
    float alpha = onnx_float_of(node, "alpha", 1), beta = onnx_float_of(node, "beta", 1);
    const OnnxConstant *w = known_floats(reader, node, 1, "weights");
    bool computed = is_given(node, 2) && beta == 1 && !onnx_known(reader, node, 2);
    const OnnxConstant *b =
        is_given(node, 2) && !computed ? known_floats(reader, node, 2, "biases") : NULL;
    int other = computed ? onnx_real(reader, node, 2) : -1;
    if (!w || (is_given(node, 2) && !computed && !b) || (computed && other < 0)) return;
    bool transposed = !onnx_int_of(node, "transB", 0);
    int inputs = w->shape.rank == 2 ? w->shape.dim[transposed ? 0 : 1] : 0;
    const Shape *shape = &reader->net->node[in].shape;
    int outputs = w->shape.dim[transposed ? 1 : 0];
    bool gemm = strcmp(node->op_type, "Gemm") == 0,
         biased = !b || b->shape.rank <= 1 || (b->shape.rank == 2 && b->shape.dim[0] == 1);
    if (shape->dim[shape->rank - 1] != inputs || (gemm && shape->rank != 1) || outputs > 1 << 20 ||
        !biased || onnx_int_of(node, "transA", 0) || (w->scales && alpha != 1) || w->count == 0) {
        char text[SHAPE_TEXT], have[SHAPE_TEXT];
        onnx_fault(reader, node, "weights %s on a value %s: no linear layer",
                   shape_text(&w->shape, have), shape_text(shape, text));
        return;
    }
    if (shape->rank > 1) {
        read_last(reader, node, in, w);
        return;
    }
    const Layer *layer = layer_find("linear");
    const Onnx__NodeProto *last;
    Weights from = {scaled(reader, w, alpha), scaled(reader, b, beta), outputs, transposed,
                    computed ? -1 : 0};
    const Node *added =
        add_weighted(reader, node, layer, onnx_spec(reader, layer, 0), in, &from, &last);
    if (!added) return;
    onnx_makes(reader, last, added->index);
    if (computed) onnx_add(reader, node, layer_find("add"), NULL, 2, (int[]){added->index, other});
}

/* A batchnorm stays one: its statistics can be trained on. */
void onnx_read_batchnorm(OnnxReader *reader, const Onnx__NodeProto *node) {
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    int in = onnx_real(reader, node, 0);
    if (in < 0) return;
    int spatial = reader->net->node[in].shape.rank - 1;
    const Layer *layer = layer_find("batchnorm");
    BatchNormLayerSpec *spec = onnx_spec(reader, layer, spatial);
    spec->eps =
        fmaxf(onnx_float_of(node, "epsilon", 1e-5f), 1e-12f); /* 0: nothing to a variance of 1 */
    const Onnx__AttributeProto *momentum = onnx_attribute_find(node, "momentum");
    if (momentum) onnx_rest.read(spatial, momentum, &spec->momentum); /* the default is 0.9's */
    bool trains = onnx_int_of(node, "training_mode", 0) || !onnx_int_of(node, "spatial", 1) ||
                  (reader->opset < 7 && !onnx_int_of(node, "is_test", 0));
    if (trains || !(spec->eps <= 1) || !(spec->momentum >= 0 && spec->momentum <= 1)) {
        onnx_fault(reader, node, "its epsilon or momentum is out of range, or it is training");
        return;
    }
    Node *added = onnx_add(reader, node, layer, spec, 1, &in);
    for (size_t k = 0; added && k < 4; k++) {
        const OnnxConstant *known = known_floats(reader, node, k + 1, parts[k]);
        Tensor *tensor = node_tensor(added, parts[k]);
        if (!known) return;
        if (known->count != tensor->count || !floats_finite(known->f, known->count)) {
            onnx_fault(reader, node, "its %s: %zu numbers for %zu channels, or no finite ones",
                       parts[k], known->count, tensor->count);
            return;
        }
        memcpy(tensor->data, known->f, sizeof(float) * tensor->count);
        OnnxAffine none = onnx_identity_map(reader, (int)tensor->count);
        if (k == 0 && known->scales && !keep_grid(reader, node, known, added, false, &none)) return;
        for (size_t c = 0; k == 3 && c < tensor->count; c++)
            if (tensor->data[c] < 0) {
                onnx_fault(reader, node, "a variance of %g", (double)tensor->data[c]);
                return;
            }
    }
}
