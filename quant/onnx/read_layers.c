/* Operators that are layers: by the table of ops.c, attribute by attribute; pools, whose windows
 * may say the same in other ways; and layers that ONNX writes as something else. */
#include <math.h>
#include <string.h>

#include "nn/layers/pool.h"
#include "quant/onnx/read.h"

/* --- attributes --- */

const Onnx__AttributeProto *onnx_attribute_find(const Onnx__NodeProto *node, const char *name) {
    for (size_t i = 0; i < node->n_attribute; i++) {
        const Onnx__AttributeProto *a = node->attribute[i];
        if (a->name && strcmp(a->name, name) == 0) return a;
    }
    return NULL;
}

int64_t onnx_int_of(const Onnx__NodeProto *node, const char *name, int64_t absent) {
    const Onnx__AttributeProto *a = onnx_attribute_find(node, name);
    return a && a->has_i ? a->i : absent;
}

float onnx_float_of(const Onnx__NodeProto *node, const char *name, float absent) {
    const Onnx__AttributeProto *a = onnx_attribute_find(node, name);
    return a && a->has_f ? a->f : absent;
}

const OnnxConstant *onnx_ints(OnnxReader *reader, const Onnx__NodeProto *node, const char *name,
                              size_t k) {
    const Onnx__AttributeProto *a = onnx_attribute_find(node, name);
    if (!a) {
        const OnnxConstant *known = onnx_known(reader, node, k);
        return known && known->i ? known : NULL;
    }
    OnnxConstant *ints = arena_zeros(reader->arena, sizeof *ints);
    ints->shape = SHAPE((int)a->n_ints);
    ints->count = a->n_ints;
    ints->i = a->ints;
    return ints;
}

/* Is the value of the field one that a .net text may have? */
static bool in_range(const Field *field, int spatial, const void *place) {
    char text[FIELD_TEXT];
    _Alignas(max_align_t) char copy[sizeof(Window)]; /* the largest that a field is, but a shape */
    field->type->print(field, spatial, place, text, sizeof text);
    return field->type->parse(field, spatial, text, copy);
}

/* A field of which nothing is said: as if the attribute were there. */
static void fill_absent(const OnnxAttribute *a, int spatial, void *place) {
    int64_t ints[2 * SPATIAL];
    for (int i = 0; i < 2 * SPATIAL; i++) ints[i] = (int64_t)a->absent;
    Onnx__AttributeProto said = {.has_f = true, .f = (float)a->absent};
    said.has_i = true;
    said.i = ints[0];
    said.n_ints = (size_t)(a->form->each * spatial);
    said.ints = ints;
    a->form->read(spatial, &said, place);
}

static bool read_field(OnnxReader *reader, const Onnx__NodeProto *node, const OnnxOp *op,
                       const OnnxAttribute *a, int spatial, void *spec) {
    const Field *field =
        field_find(op->fields ? op->fields : layer_find(op->layer)->fields, a->field);
    const Onnx__AttributeProto *said = onnx_attribute_find(node, a->name);
    void *place = (char *)spec + field->offset;
    if (!said && isnan(a->absent)) return true; /* the weights say it, or the layer refuses 0 */
    if (!said)
        fill_absent(a, spatial, place);
    else if (!a->form->read(spatial, said, place)) {
        onnx_fault(reader, node, "%s: expected %s", a->name, field->type->expects);
        return false;
    }
    if (in_range(field, spatial, place)) return true;
    onnx_fault(reader, node, "%s is out of the range %g to %g", a->name, field->least, field->most);
    return false;
}

/* A constant of the layer: the attribute must say the same. Of `axis` -1 is the last dimension. */
static bool check_only(OnnxReader *reader, const Onnx__NodeProto *node, const OnnxAttribute *a,
                       int rank) {
    const Onnx__AttributeProto *said = onnx_attribute_find(node, a->name);
    double value = !said ? a->absent : said->has_f ? (double)said->f : (double)said->i;
    if (strcmp(a->name, "axis") == 0 && value < 0) value += rank;
    if (value == a->value) return true;
    onnx_fault(reader, node, "%s is %g, only %d can be had", a->name, value, a->value);
    return false;
}

/* An attribute that is not known may mean anything. */
static bool check_known(OnnxReader *reader, const Onnx__NodeProto *node, const OnnxOp *op) {
    static const char *const harmless[] = {"auto_pad",      /* read by those that have it */
                                           "output_shape",  /* likewise */
                                           "storage_order", /* of indices that nobody reads */
                                           "broadcast", /* opset 6; of values that have one shape */
                                           "consumed_inputs"};
    for (size_t i = 0; i < node->n_attribute; i++) {
        const char *name = node->attribute[i]->name ? node->attribute[i]->name : "";
        bool known = false;
        for (const OnnxAttribute *a = op->attribute; a->name; a++)
            known |= strcmp(a->name, name) == 0;
        for (size_t k = 0; k < sizeof harmless / sizeof *harmless; k++)
            known |= strcmp(harmless[k], name) == 0;
        if (known) continue;
        onnx_fault(reader, node, "the attribute %.60s is not known", name);
        return false;
    }
    return true;
}

bool onnx_read_attributes(OnnxReader *reader, const Onnx__NodeProto *node, const OnnxOp *op,
                          int spatial, void *spec) {
    bool ok = check_known(reader, node, op);
    for (const OnnxAttribute *a = op->attribute; a->name; a++)
        ok &= a->field ? read_field(reader, node, op, a, spatial, spec)
                       : check_only(reader, node, a, spatial + 2);
    return ok;
}

void *onnx_spec(OnnxReader *reader, const Layer *layer, int spatial) {
    void *spec = arena_zeros(reader->arena, layer->spec_size);
    fields_default(layer->fields, spatial, spec);
    return spec;
}

const OnnxOp *onnx_op_for(const char *op_type, int spatial) {
    for (const OnnxOp *op = onnx_ops; op->layer; op++) {
        int wanted = layer_find(op->layer)->spatial;
        if (op->op_type && strcmp(op->op_type, op_type) == 0 && (!wanted || wanted == spatial))
            return op;
    }
    return NULL;
}

/* --- layers --- */

static int spatial_of(const OnnxReader *reader, int node) {
    return reader->net->node[node].shape.rank - 1;
}

static void read_as(OnnxReader *reader, const Onnx__NodeProto *node, const OnnxOp *op) {
    const Layer *layer = layer_find(op->layer);
    int in[LAYER_MAX_INPUTS], inputs = (int)node->n_input;
    if (inputs > LAYER_MAX_INPUTS || (layer->inputs != INPUTS_MANY && inputs != layer->inputs)) {
        onnx_fault(reader, node, "%d inputs, a %s layer takes %d", inputs, layer->name,
                   layer->inputs == INPUTS_MANY ? LAYER_MAX_INPUTS : layer->inputs);
        return;
    }
    for (int k = 0; k < inputs; k++)
        if ((in[k] = onnx_real(reader, node, (size_t)k)) < 0) return;
    int spatial = spatial_of(reader, in[0]);
    void *spec = onnx_spec(reader, layer, spatial);
    if (onnx_read_attributes(reader, node, op, spatial, spec))
        onnx_add(reader, node, layer, spec, inputs, in);
}

void onnx_read_layer(OnnxReader *reader, const Onnx__NodeProto *node) {
    int in = onnx_real(reader, node, 0);
    if (in >= 0) read_as(reader, node, onnx_op_for(node->op_type, spatial_of(reader, in)));
}

/* --- windows --- */

bool onnx_says(const Onnx__AttributeProto *a, const char *word) {
    return a->s.len == strlen(word) && memcmp(a->s.data, word, a->s.len) == 0;
}

bool onnx_pad_sides(OnnxReader *reader, const Onnx__NodeProto *node, Window *window, int d,
                    int total, bool upper) {
    if (total < 0 || total > 2 * ONNX_PADDING) {
        onnx_fault(reader, node, "its padding is %d zeros", total);
        return false;
    }
    window->padding[d] = upper ? total / 2 : total - total / 2;
    window->uneven[d] = total - 2 * window->padding[d];
    return true;
}

OnnxAutoPad onnx_auto_pad_of(const Onnx__NodeProto *node) {
    const Onnx__AttributeProto *a = onnx_attribute_find(node, "auto_pad");
    static const char *const words[] = {"NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"};
    for (int i = 0; a && a->has_s && i < AUTO_PAD_UNKNOWN; i++)
        if (onnx_says(a, words[i])) return (OnnxAutoPad)i;
    return a && a->has_s ? AUTO_PAD_UNKNOWN : AUTO_PAD_NOT;
}

/* SAME asks for ceil(in / stride) places, of an input that a Pad before may have made larger. */
bool onnx_auto_pad(OnnxReader *reader, const Onnx__NodeProto *node, int in, Window *window) {
    const OnnxValue *x = onnx_value(reader, node, 0);
    OnnxAutoPad kind = onnx_auto_pad_of(node);
    int size[SPATIAL];
    Shape batched = shape_batched(&reader->net->node[in].shape, 1);
    window_sizes(&batched, size);
    if (kind == AUTO_PAD_UNKNOWN) onnx_fault(reader, node, "its auto_pad is not known");
    for (int d = 0; d < SPATIAL && kind != AUTO_PAD_NOT; d++) {
        size[d] += x->before[d] + x->after[d];
        int places = (size[d] + window->stride[d] - 1) / window->stride[d];
        int reach = window->dilation[d] * (window->kernel[d] - 1) + 1;
        int total = (places - 1) * window->stride[d] + reach - size[d];
        if (total < 0 || kind == AUTO_PAD_VALID) total = 0;
        if (!onnx_pad_sides(reader, node, window, d, total, kind == AUTO_PAD_UPPER)) return false;
    }
    return kind != AUTO_PAD_UNKNOWN;
}

/* The zeros of a Pad before it, where they count as they do in the layer's own padding. */
void onnx_take_padding(const OnnxValue *value, Window *window) {
    for (int d = 0; d < SPATIAL; d++) {
        window->padding[d] += value->before[d];
        window->uneven[d] += value->after[d] - value->before[d];
    }
}

/* With ceil_mode a last window may hang over the end: padding there, if it begins before. */
static void round_up(Window *window, const int size[SPATIAL]) {
    for (int d = 0; d < SPATIAL; d++) {
        int stride = window->stride[d], before = window->padding[d] + size[d];
        int reach = window->dilation[d] * (window->kernel[d] - 1) + 1;
        int room = before + window_padding_end(window, d) - reach, rest = room % stride;
        if (room >= 0 && rest && (room / stride + 1) * stride < before)
            window->uneven[d] += stride - rest;
    }
}

/* Padding of a mean: zeros of a Pad are values; the node's own count as it says; those that
 * rounding up adds do not. All must count, or none. */
static bool settle_count(OnnxReader *reader, const Onnx__NodeProto *node, const OnnxValue *x,
                         PoolSpec *spec, bool padded, bool rounded) {
    bool counted = onnx_is_padded(x) || (padded && spec->count_include_pad);
    bool left_out = rounded || (padded && !spec->count_include_pad);
    spec->count_include_pad = !left_out;
    if (counted && left_out)
        onnx_fault(reader, node, "some of its padding counts in the mean and some does not");
    return !(counted && left_out);
}

void onnx_read_window(OnnxReader *reader, const Onnx__NodeProto *node) {
    OnnxValue *x = onnx_value(reader, node, 0);
    bool mean = strcmp(node->op_type, "AveragePool") == 0;
    int in = mean ? onnx_padded(reader, node) : onnx_real(reader, node, 0);
    if (in < 0) return;
    int spatial = spatial_of(reader, in), size[SPATIAL];
    const OnnxOp *op = onnx_op_for(node->op_type, spatial);
    const Layer *layer = layer_find(op->layer);
    if (spatial < 1 || spatial > SPATIAL) {
        onnx_fault(reader, node, "a pool over %d dimensions", spatial);
        return;
    }
    PoolSpec *spec = onnx_spec(reader, layer, spatial);
    spec->window = window_identity();
    if (!check_known(reader, node, op)) return;
    for (const OnnxAttribute *a = op->attribute; a->name; a++)
        if (a->field && !read_field(reader, node, op, a, spatial, spec)) return;
    if (!onnx_auto_pad(reader, node, in, &spec->window)) return;
    Shape batched = shape_batched(&reader->net->node[in].shape, 1);
    window_sizes(&batched, size);
    bool padded = window_padded(&spec->window);
    onnx_take_padding(x, &spec->window);
    Window rounded = spec->window;
    if (onnx_int_of(node, "ceil_mode", 0)) round_up(&rounded, size);
    bool rounds = memcmp(&rounded, &spec->window, sizeof rounded) != 0;
    spec->window = rounded;
    if (mean && !settle_count(reader, node, x, spec, padded, rounds)) return;
    if (!in_range(field_find(layer->fields, "padding"), spatial, &spec->window))
        onnx_fault(reader, node, "its padding is out of range");
    else if (onnx_wanted(reader, node, 1))
        onnx_fault(reader, node, "its indices are asked for");
    else
        onnx_add(reader, node, layer, spec, 1, &in);
}
