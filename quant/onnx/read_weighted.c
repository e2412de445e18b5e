/* Layers with weights: convolutions, Gemm, MatMul, BatchNormalization. Numbers that follow such a
 * layer for each of its outputs (the Add behind a MatMul; the Div, Add and BatchNormalization that
 * PyTorch writes behind a convolution with rounded weights) are folded into it: with y = g x + s
 * the weights become g w, the bias g b + s, and rounded weights keep their codes on a grid of scale
 * |g| S. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "nn/layers/batchnorm.h"
#include "nn/layers/conv.h"
#include "nn/layers/conv_transpose.h"
#include "quant/onnx/read.h"

/* y = gain x + shift for each output. */
typedef struct Affine {
    int outputs;
    double *gain, *shift;
} Affine;

/* --- what follows --- */

/* Is constant c one number for each output, or one for all, behind a value of `spatial` dimensions?
 */
static bool per_output(const OnnxConstant *c, int outputs, int spatial) {
    if (!c || !c->f) return false;
    if (c->count == 1) return c->shape.rank <= spatial + 2;
    int at = c->shape.rank - 1 - spatial; /* where the channels are, counted from the end */
    return at >= 0 && at <= 1 && c->shape.dim[at] == outputs && c->count == (size_t)outputs;
}

static double of_output(const OnnxConstant *c, int o) {
    return (double)c->f[c->count == 1 ? 0 : o];
}

/* Adds a BatchNormalization of known statistics to the map. */
static bool follow_batchnorm(OnnxReader *reader, const Onnx__NodeProto *node, Affine *map) {
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
                   int spatial, Affine *map) {
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
        if (!second && !kinds[i].either) return false;
        const OnnxConstant *c = onnx_known(reader, node, second);
        if (!per_output(c, map->outputs, spatial)) return false;
        for (int o = 0; o < map->outputs; o++) {
            double value = of_output(c, o);
            double gain = kinds[i].times ? value : kinds[i].over ? 1 / value : 1;
            map->gain[o] *= gain;
            map->shift[o] = map->shift[o] * gain + kinds[i].plus * value;
        }
        return true;
    }
    return false;
}

/* Composes all that follows `node` into the map; gives the last of them, or `node`. */
static const Onnx__NodeProto *follow_all(OnnxReader *reader, const Onnx__NodeProto *node,
                                         bool rounded, int spatial, Affine *map, bool *shifts) {
    map->gain = arena_alloc(reader->arena, sizeof(double) * (size_t)map->outputs);
    map->shift = arena_zeros(reader->arena, sizeof(double) * (size_t)map->outputs);
    for (int o = 0; o < map->outputs; o++) map->gain[o] = 1;
    for (*shifts = false;; *shifts = true) {
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

/* --- rounded weights --- */

/* The scale of each output, from scales along one axis of the weight's shape (`stored`, which the
 * codes have in the file; `outputs` are found through the layer's layout). */
static bool output_scales(OnnxReader *reader, const Onnx__NodeProto *node, const OnnxConstant *w,
                          const Node *layer, bool transposed, float scale[]) {
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
            if (k && w->scale[c] != scale[o]) {
                onnx_fault(reader, node, "its weights have several scales for one output");
                return false;
            }
            if (w->zero[c]) {
                onnx_fault(reader, node, "its weights have a zero point of %lld: only 0 can be had",
                           (long long)w->zero[c]);
                return false;
            }
            scale[o] = w->scale[c];
        }
    return true;
}

/* Notes the grid of the layer's weights: one scale, or one for each output, times the map's gains.
 */
static bool keep_grid(OnnxReader *reader, const Onnx__NodeProto *node, const OnnxConstant *w,
                      const Node *layer, bool transposed, const Affine *map) {
    OnnxConstant *grid = arena_alloc(reader->arena, sizeof *grid);
    float *scale = arena_alloc(reader->arena, sizeof *scale * (size_t)map->outputs);
    *grid = (OnnxConstant){.scales = w->scales == 1 ? 1 : map->outputs,
                           .scale = scale,
                           .least = w->least,
                           .most = w->most};
    if (!output_scales(reader, node, w, layer, transposed, scale)) return false;
    for (int o = 0; o < map->outputs; o++) {
        if (map->gain[o] != map->gain[0]) grid->scales = map->outputs;
        if (map->gain[o] < 0 && w->least < -w->most) grid->most = -w->least; /* -128 becomes 128 */
        scale[o] = (float)(fabs(map->gain[o]) * (double)scale[o]);
        if (!(scale[o] >= FLT_MIN)) scale[o] = 1; /* no weight is left */
    }
    if (grid->most > INT8_MAX) {
        onnx_fault(reader, node, "its weights have codes of more than 8 bits");
        return false;
    }
    reader->weight[layer->index] = grid;
    return true;
}

/* --- the layer --- */

/* Fills the weights and the bias (NULL: 0) of a layer that was added. `transposed`: the file has
 * [in, out]. */
static bool fill(OnnxReader *reader, const Onnx__NodeProto *node, const Node *layer,
                 const OnnxConstant *w, const OnnxConstant *b, bool transposed, const Affine *map) {
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
        double value = b ? of_output(b, o) : 0;
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

/* Adds the layer of `node`, whose spec lacks its outputs and whether it has a bias. */
static void add_weighted(OnnxReader *reader, const Onnx__NodeProto *node, const Layer *layer,
                         void *spec, int in, const OnnxConstant *w, const OnnxConstant *b,
                         int outputs, bool transposed) {
    Affine map = {.outputs = outputs};
    bool shifts;
    int spatial = reader->net->node[in].shape.rank - 1;
    const Onnx__NodeProto *last = follow_all(reader, node, w->scales > 0, spatial, &map, &shifts);
    *(int *)((char *)spec + field_find(layer->fields, "out")->offset) = outputs;
    *(bool *)((char *)spec + field_find(layer->fields, "bias")->offset) = b || shifts;
    Node *added = onnx_add(reader, node, layer, spec, 1, &in);
    if (added && fill(reader, node, added, w, b, transposed, &map))
        onnx_makes(reader, last, added->index);
}

static bool fits_text(OnnxReader *reader, const Onnx__NodeProto *node, const Window *window,
                      int64_t outputs) {
    bool ok = outputs >= 1 && outputs <= 1 << 16;
    for (int d = 0; d < SPATIAL; d++) ok &= window->padding[d] <= 127 && window->kernel[d] <= 255;
    if (!ok) onnx_fault(reader, node, "its sizes are larger than a convolution's may be");
    return ok;
}

/* Conv and ConvTranspose: weight [out, in/groups, kernel] or [in, out/groups, kernel]. */
void onnx_read_weighted(OnnxReader *reader, const Onnx__NodeProto *node) {
    OnnxValue *x = onnx_value(reader, node, 0);
    bool back = strcmp(node->op_type, "ConvTranspose") == 0;
    int in = !back && x && x->node >= 0 && !x->codes ? x->node : onnx_real(reader, node, 0);
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
    if (onnx_attribute_find(node, "output_shape") ||
        (back && onnx_attribute_find(node, "auto_pad"))) {
        onnx_fault(reader, node, "only pads and output_padding can say its sizes");
        return;
    }
    const Layer *layer = layer_find(op->layer);
    void *spec = onnx_spec(reader, layer, spatial);
    Window *window =
        back ? &((ConvTransposeLayerSpec *)spec)->map.window : &((ConvLayerSpec *)spec)->window;
    *window = window_identity();
    for (int d = 0; d < spatial; d++) window->kernel[SPATIAL - spatial + d] = w->shape.dim[2 + d];
    if (!onnx_read_attributes(reader, node, op, spatial, spec)) return;
    if (!back && !onnx_auto_pad(reader, node, in, window)) return;
    if (!back) onnx_take_padding(x, window);
    int64_t outputs = back ? (int64_t)w->shape.dim[1] * ((ConvTransposeLayerSpec *)spec)->map.groups
                           : w->shape.dim[0];
    if (fits_text(reader, node, window, outputs))
        add_weighted(reader, node, layer, spec, in, w, b, (int)outputs, false);
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

/* Gemm: alpha x w + beta b, w [in, out], or [out, in] with transB. MatMul: x w. */
void onnx_read_linear(OnnxReader *reader, const Onnx__NodeProto *node) {
    int in = onnx_real(reader, node, 0);
    if (in < 0) return;
    const OnnxConstant *w = known_floats(reader, node, 1, "weights");
    const OnnxConstant *b = is_given(node, 2) ? known_floats(reader, node, 2, "biases") : NULL;
    if (!w || (is_given(node, 2) && !b)) return;
    bool transposed = !onnx_int_of(node, "transB", 0);
    float alpha = onnx_float_of(node, "alpha", 1), beta = onnx_float_of(node, "beta", 1);
    int inputs = w->shape.rank == 2 ? w->shape.dim[transposed ? 0 : 1] : 0;
    const Shape *shape = &reader->net->node[in].shape;
    bool flat = shape->rank == 1,
         biased = !b || b->shape.rank <= 1 || (b->shape.rank == 2 && b->shape.dim[0] == 1);
    if (!flat || shape->dim[0] != inputs || w->shape.dim[transposed ? 1 : 0] > 1 << 20 || !biased ||
        onnx_int_of(node, "transA", 0) || (w->scales && alpha != 1) || w->count == 0) {
        char text[SHAPE_TEXT], have[SHAPE_TEXT];
        onnx_fault(reader, node, "weights %s on a value %s: no linear layer",
                   shape_text(&w->shape, have), shape_text(shape, text));
        return;
    }
    const Layer *layer = layer_find("linear");
    add_weighted(reader, node, layer, onnx_spec(reader, layer, 0), in, scaled(reader, w, alpha),
                 scaled(reader, b, beta), w->shape.dim[transposed ? 1 : 0], transposed);
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
        Affine none = {.outputs = (int)tensor->count};
        none.gain = arena_alloc(reader->arena, sizeof(double) * tensor->count);
        for (size_t c = 0; c < tensor->count; c++) none.gain[c] = 1;
        if (k == 0 && known->scales && !keep_grid(reader, node, known, added, false, &none)) return;
        for (size_t c = 0; k == 3 && c < tensor->count; c++)
            if (tensor->data[c] < 0) {
                onnx_fault(reader, node, "a variance of %g", (double)tensor->data[c]);
                return;
            }
    }
}
