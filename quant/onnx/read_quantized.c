/* QuantizeLinear and DequantizeLinear (QDQ). Around a value the pair says which grid the value is
 * on; around numbers that are known it makes rounded weights. What comes of it is a calibrated
 * model with exactly these scales and zero points. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "quant/given.h"
#include "quant/onnx/read.h"

#define TYPE(name) ONNX__TENSOR_PROTO__DATA_TYPE__##name

/* --- scales and zero points of a node --- */

/* Inputs 1 and 2 of the node: scale[n] and zero[n], n = 1 or the size of an axis. */
typedef struct Steps {
    int count, axis;
    const float *scale;
    const int64_t *zero;
    int64_t least, most; /* codes of the type */
} Steps;

static bool type_range(int type, int64_t *least, int64_t *most) {
    static const struct {
        int type;
        int64_t least, most;
    } ranges[] = {{TYPE(UINT8), 0, UINT8_MAX},
                  {TYPE(INT8), INT8_MIN, INT8_MAX},
                  {TYPE(INT32), INT32_MIN, INT32_MAX}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (ranges[i].type == type) {
            *least = ranges[i].least;
            *most = ranges[i].most;
            return true;
        }
    return false;
}

/* `type` of the codes if there is no zero point. */
static bool read_steps(OnnxReader *reader, const Onnx__NodeProto *node, int type, int rank,
                       Steps *steps) {
    const OnnxConstant *scale = onnx_known(reader, node, 1), *zero = onnx_known(reader, node, 2);
    bool pointed = node->n_input > 2 && *node->input[2];
    if (!scale || !scale->f || scale->count < 1 || (pointed && (!zero || !zero->i)) ||
        onnx_int_of(node, "block_size", 0)) {
        onnx_fault(reader, node, "its scale and zero point are not known numbers");
        return false;
    }
    int64_t axis = onnx_int_of(node, "axis", 1);
    *steps = (Steps){.count = (int)scale->count,
                     .axis = (int)(axis < 0 ? axis + rank : axis),
                     .scale = scale->f};
    if (!type_range(pointed ? (int)zero->type : type, &steps->least, &steps->most) ||
        (pointed && zero->count != scale->count) ||
        (steps->count > 1 && (steps->axis < 0 || steps->axis >= rank))) {
        onnx_fault(reader, node,
                   "codes of another type than 8 bits, or scales and zero points that do not fit");
        return false;
    }
    int64_t *zeros = arena_zeros(reader->arena, sizeof *zeros * scale->count);
    for (size_t i = 0; i < scale->count; i++) {
        if (pointed) zeros[i] = zero->i[i];
        if (!(scale->f[i] >= FLT_MIN && scale->f[i] <= FLT_MAX) || zeros[i] < steps->least ||
            zeros[i] > steps->most) {
            onnx_fault(reader, node, "scale %g, zero point %lld", (double)scale->f[i],
                       (long long)zeros[i]);
            return false;
        }
    }
    steps->zero = zeros;
    return true;
}

/* The index into the scales of element i of a tensor. */
static size_t step_of(const Steps *steps, const Shape *shape, size_t i) {
    size_t inner = 1;
    for (int d = steps->axis + 1; d < shape->rank; d++) inner *= (size_t)shape->dim[d];
    return steps->count == 1 ? 0 : i / inner % (size_t)steps->count;
}

static bool steps_fit(OnnxReader *reader, const Onnx__NodeProto *node, const Steps *steps,
                      const Shape *shape) {
    if (steps->count == 1 || shape->dim[steps->axis] == steps->count) return true;
    onnx_fault(reader, node, "%d scales along axis %d", steps->count, steps->axis);
    return false;
}

/* --- the operators --- */

static void quantize_known(OnnxReader *reader, const Onnx__NodeProto *node, const OnnxConstant *x) {
    Steps steps;
    if (!x->f || !read_steps(reader, node, TYPE(UINT8), x->shape.rank, &steps) ||
        !steps_fit(reader, node, &steps, &x->shape))
        return;
    OnnxConstant *codes = arena_zeros(reader->arena, sizeof *codes);
    codes->shape = x->shape;
    codes->count = x->count;
    codes->type = steps.least < 0 ? TYPE(INT8) : TYPE(UINT8);
    codes->i = arena_alloc(reader->arena, sizeof *codes->i * x->count);
    for (size_t i = 0; i < x->count; i++) {
        size_t c = step_of(&steps, &x->shape, i);
        float scale = steps.scale[c];
        int32_t zero = (int32_t)steps.zero[c];
        QParams q = {1, &scale, &zero, (int32_t)steps.least, (int32_t)steps.most};
        codes->i[i] = isnan(x->f[i]) ? zero : quantize(&q, 0, x->f[i]);
    }
    onnx_makes_known(reader, node, codes);
}

void onnx_read_quantize(OnnxReader *reader, const Onnx__NodeProto *node) {
    const OnnxConstant *known = onnx_known(reader, node, 0);
    if (known) {
        quantize_known(reader, node, known);
        return;
    }
    int in = onnx_real(reader, node, 0);
    Steps steps;
    if (in < 0 || !read_steps(reader, node, TYPE(UINT8), 2, &steps)) return;
    if (steps.count != 1 || steps.most > UINT8_MAX) {
        onnx_fault(reader, node, "a value has one scale, and codes of 8 bits");
        return;
    }
    OnnxGrid *grid = arena_alloc(reader->arena, sizeof *grid);
    *grid = (OnnxGrid){steps.scale[0], steps.zero[0], steps.least, steps.most};
    OnnxValue *to = onnx_value_named(reader, node->output[0]);
    to->codes = grid;
    to->node = in;
}

/* Clip between the two: fewer codes than the type has. */
void onnx_clip_codes(OnnxReader *reader, const Onnx__NodeProto *node) {
    const OnnxConstant *least = onnx_known(reader, node, 1), *most = onnx_known(reader, node, 2);
    const OnnxValue *from = onnx_value(reader, node, 0);
    if (!least || !most || !least->i || !most->i || least->count != 1 || most->count != 1 ||
        least->i[0] < from->codes->least || most->i[0] > from->codes->most ||
        from->codes->zero < least->i[0] || from->codes->zero > most->i[0]) {
        onnx_fault(reader, node,
                   "of codes: its ends must be known codes, the zero point between them");
        return;
    }
    OnnxGrid *grid = arena_alloc(reader->arena, sizeof *grid);
    *grid = (OnnxGrid){from->codes->scale, from->codes->zero, least->i[0], most->i[0]};
    OnnxValue *to = onnx_value_named(reader, node->output[0]);
    to->codes = grid;
    to->node = from->node;
}

static void dequantize_known(OnnxReader *reader, const Onnx__NodeProto *node,
                             const OnnxConstant *codes) {
    Steps steps;
    int64_t least, most;
    if (!codes->i || !type_range((int)codes->type, &least, &most)) {
        onnx_fault(reader, node, "codes of 8 bits, or of 32 for biases, can be had");
        return;
    }
    if (!read_steps(reader, node, (int)codes->type, codes->shape.rank, &steps) ||
        !steps_fit(reader, node, &steps, &codes->shape))
        return;
    OnnxConstant *x = arena_zeros(reader->arena, sizeof *x);
    x->shape = codes->shape;
    x->count = codes->count;
    x->type = TYPE(FLOAT);
    x->f = arena_alloc(reader->arena, sizeof *x->f * x->count);
    int64_t shift = least == 0 && most == UINT8_MAX ? 128 : 0; /* unsigned codes as signed ones */
    int64_t *zero = arena_alloc(reader->arena, sizeof *zero * (size_t)steps.count);
    for (int c = 0; c < steps.count; c++) zero[c] = steps.zero[c] - shift;
    x->scales = most == INT32_MAX ? 0 : steps.count;
    x->axis = steps.axis;
    x->scale = steps.scale;
    x->zero = zero;
    x->least = x->most = 0;
    for (size_t i = 0; i < x->count; i++) {
        size_t c = step_of(&steps, &x->shape, i);
        int64_t code = codes->i[i];
        if (code < least || code > most) {
            onnx_fault(reader, node, "%lld is no code of its type", (long long)code);
            return;
        }
        x->f[i] = steps.scale[c] * (float)(code - steps.zero[c]);
        if (code - shift < x->least) x->least = code - shift;
        if (code - shift > x->most) x->most = code - shift;
    }
    onnx_makes_known(reader, node, x);
}

static bool same_grid(const OnnxGrid *a, const OnnxGrid *b) {
    return a->scale == b->scale && a->zero == b->zero && a->least == b->least && a->most == b->most;
}

void onnx_read_dequantize(OnnxReader *reader, const Onnx__NodeProto *node) {
    const OnnxConstant *known = onnx_known(reader, node, 0);
    if (known) {
        dequantize_known(reader, node, known);
        return;
    }
    const OnnxValue *from = onnx_value(reader, node, 0);
    Steps steps;
    if (!from || !from->codes) {
        onnx_fault(reader, node, "it reads no codes");
        return;
    }
    if (!read_steps(reader, node, from->codes->least < 0 ? TYPE(INT8) : TYPE(UINT8), 2, &steps))
        return;
    if (steps.count != 1 || steps.scale[0] != from->codes->scale ||
        steps.zero[0] != from->codes->zero) {
        onnx_fault(reader, node, "its scale or zero point is not that of the QuantizeLinear");
        return;
    }
    OnnxGrid **grid = &reader->grid[from->node];
    if (*grid && !same_grid(*grid, from->codes))
        onnx_fault(reader, node, "%s is rounded to two grids", reader->net->node[from->node].name);
    *grid = from->codes;
    onnx_makes(reader, node, from->node);
}

bool onnx_quantized(const OnnxReader *reader) {
    bool any = false;
    for (int i = 0; i < reader->net->nodes; i++) any |= reader->grid[i] || reader->weight[i];
    return any;
}

/* --- the model --- */

/* 2^bits codes, or one less around zero. */
static json_t *grid_spec(const OnnxGrid *grid, Error *error, const char *name) {
    int64_t codes = grid->most - grid->least + 1;
    bool narrow = grid->least < 0 && grid->least == -grid->most;
    for (int bits = BITS_LEAST; bits <= BITS_MOST; bits++)
        if (codes + narrow == 1 << bits &&
            (grid->least == 0 || narrow || grid->least == -(1 << (bits - 1))) &&
            (!narrow || !grid->zero))
            return json_pack("{s:i, s:b, s:b}", "bits", bits, "signed", grid->least < 0,
                             "symmetric", narrow);
    error_set(error, ERROR_INPUT, "%s: codes from %lld to %lld with zero point %lld can not be had",
              name, (long long)grid->least, (long long)grid->most, (long long)grid->zero);
    return NULL;
}

static json_t *weight_spec(const OnnxConstant *weight) {
    if (weight->zero)
        return json_pack("{s:b, s:b}", "per_channel", weight->scales > 1, "symmetric", false);
    return json_pack("{s:b, s:b}", "per_channel", weight->scales > 1, "full_range",
                     weight->least < -INT8_MAX);
}

/* For each quantizer's node the grid that the file gives its value: said of that node, of one that
 * it absorbed, or of one that passes its codes on. All say the same steps, and the narrowest range
 * holds: the codes that are passed on are within it. */
static bool collect(const OnnxReader *reader, const QuantNet *net, OnnxGrid of[], Error *error) {
    for (int i = 0; i < net->graph->nodes; i++) {
        const OnnxGrid *grid = reader->grid[i];
        if (!grid) continue;
        const char *name = net->node[i].out->name;
        OnnxGrid *owner = &of[graph_find(net->graph, name)->index];
        if (owner->scale == 0) *owner = *grid;
        if (owner->scale != grid->scale || owner->zero != grid->zero)
            return error_set(error, ERROR_INPUT,
                             "%s: its value is rounded to two grids, there and at %s", name,
                             net->graph->node[i].name);
        if (owner->least < grid->least) owner->least = grid->least;
        if (owner->most > grid->most) owner->most = grid->most;
    }
    return true;
}

/* What the file says, in the words of a configuration. Layers without rounded weights, and values
 * without a grid, stay float. A lone batchnorm has no word about weights of its own: the default is
 * for its. */
static json_t *config_json(const OnnxReader *reader, const QuantNet *net, const OnnxGrid of[],
                           Error *error) {
    json_t *nodes = json_object(), *lone = NULL;
    for (int i = 0; nodes && i < net->graph->nodes; i++) {
        const QNode *q = &net->node[i];
        if (q->into || !q->rule->owns_range) continue;
        const OnnxConstant *weight = reader->weight[i];
        bool weighted = q->rule->arrays != NULL;
        json_t *word = json_null();
        if (of[i].scale > 0 && (!weighted || weight)) {
            json_t *activation = grid_spec(&of[i], error, q->node->name);
            word = json_pack("{s:o*}", "activation", activation);
            if (node_has_rule(q->node, "weighted"))
                json_object_set_new(word, "weight", weight_spec(weight));
            else if (weighted && !lone)
                lone = weight_spec(weight);
            if (!activation) {
                json_decref(word);
                json_decref(nodes);
                json_decref(lone);
                return NULL;
            }
        }
        json_object_set_new(nodes, q->node->name, word);
    }
    return json_pack("{s:o, s:o*}", "overrides", nodes, "weight", lone);
}

/* A net with these words leaves kinds that cannot be quantized float. */
static QuantNet *try_prepare(Graph *graph, Error *error) {
    QuantConfig config = quant_config_default();
    for (int i = 0; i < graph->nodes; i++)
        if (!rule_find(graph->node[i].layer->rule))
            quant_config_node(&config, graph->node[i].name)->is_float = true;
    return quant_prepare(graph, &config, error);
}

static bool set_grids(const OnnxReader *reader, QuantNet *net, const OnnxGrid of[], Error *error) {
    for (int i = 0; i < net->quantizers; i++) {
        Quantizer *quantizer = net->quantizer[i];
        const OnnxGrid *grid = &of[graph_find(net->graph, quantizer->name)->index];
        bool given = grid->scale > 0;
        if (!given && !quantizer->bypassed)
            return error_set(error, ERROR_INPUT,
                             "%s: a quantized layer reads its value, which no QuantizeLinear "
                             "rounds",
                             quantizer->name);
        if (quantizer->fixed &&
            (grid->scale != quantizer->q.scale[0] || grid->zero != quantizer->q.zero_point[0]))
            return error_set(error, ERROR_INPUT, "%s: the grid of its kind of layer has scale %g",
                             quantizer->name, (double)quantizer->q.scale[0]);
        if (given) /* a value that is never rounded needs some range, too, to be complete */
            quantizer_give(quantizer, grid->scale, (int32_t)grid->zero);
        else
            quantizer_give(quantizer, quantizer->q.scale[0], quantizer->q.zero_point[0]);
    }
    for (int i = 0; i < net->graph->nodes; i++)
        if (reader->weight[i] && !net->node[i].into && !net->node[i].is_float)
            quant_give_weights(&net->node[i], reader->weight[i]->scale, reader->weight[i]->zero);
    return true;
}

bool onnx_calibrate(const OnnxReader *reader, Model *model, Error *error) {
    OnnxGrid of[GRAPH_MAX_NODES] = {{0}}; /* scale 0: none */
    QuantNet *net = try_prepare(model->graph, error);
    if (!net || !collect(reader, net, of, error)) return false;
    json_t *json = config_json(reader, net, of, error);
    QuantConfig config;
    bool ok = json && quant_config_from_json(json, &config, error);
    json_decref(json);
    if (!ok || !model_quantize(model, &config, error)) return false;
    if (!set_grids(reader, model->quant, of, error)) return false;
    quant_fake(model->quant, true);
    return true;
}
