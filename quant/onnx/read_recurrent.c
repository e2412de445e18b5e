/* LSTM and GRU. Around them values have other dimensions than a batch of steps of features: steps
 * first, directions apart. Such a value is that of a node with its axes in another order, until
 * Transpose, Squeeze and Reshape have brought them back. */
#include <string.h>

#include "nn/layers/recurrent.h"
#include "nn/layers/view.h"
#include "quant/onnx/read.h"
#include "quant/onnx/recurrent.h"

/* N samples, T steps, D directions, H features. The orders that a net has: */
static bool is_plain(const char *axes) {
    return strcmp(axes, "NTH") == 0 || strcmp(axes, "NH") == 0;
}

bool onnx_axes_in_order(const char *axes) {
    const char *at = "NTDH";
    while (*axes && (at = strchr(at, *axes))) axes++, at++;
    return !*axes;
}

/* Is the node a recurrent layer? Others have no directions. */
static bool is_recurrent(const Node *node) {
    return onnx_recurrent(node->layer->name) != NULL;
}

/* The axes of input 0, which is the value of a node; NULL if they have no such names. */
static const char *axes_of_input(const OnnxReader *reader, const Onnx__NodeProto *node) {
    const OnnxValue *x = onnx_value(reader, node, 0);
    if (!x || x->node < 0 || x->codes || onnx_is_padded(x)) return NULL;
    if (x->axes) return x->axes;
    int rank = reader->net->node[x->node].shape.rank;
    return rank == 2 ? "NTH" : rank == 1 ? "NH" : NULL;
}

/* What the node makes is the value of its input with these axes. */
static void makes_axes(OnnxReader *reader, const Onnx__NodeProto *node, const char *axes) {
    OnnxValue *to = onnx_value_named(reader, node->output[0]);
    to->node = onnx_value(reader, node, 0)->node;
    to->axes = is_plain(axes) ? NULL : arena_text(reader->arena, "%s", axes);
}

static int directions_of(const OnnxReader *reader, const Onnx__NodeProto *node) {
    const Node *from = &reader->net->node[onnx_value(reader, node, 0)->node];
    return 1 + ((const RecurrentLayerSpec *)from->spec)->bidirectional;
}

int onnx_named_sizes(const OnnxReader *reader, const Onnx__NodeProto *node,
                     int64_t size[MAX_RANK]) {
    const OnnxValue *x = onnx_value(reader, node, 0);
    if (!x || x->node < 0 || x->codes || !x->axes) return 0;
    const Shape *shape = &reader->net->node[x->node].shape;
    int directions = strchr(x->axes, 'D') ? directions_of(reader, node) : 1, rank = 0;
    for (const char *axis = x->axes; *axis; axis++)
        size[rank++] = *axis == 'N'   ? ONNX_BATCH
                       : *axis == 'T' ? shape->dim[0]
                       : *axis == 'D' ? directions
                                      : shape->dim[shape->rank - 1] / directions;
    return rank;
}

bool onnx_turn(OnnxReader *reader, const Onnx__NodeProto *node) {
    const char *axes = axes_of_input(reader, node);
    const Onnx__AttributeProto *perm = onnx_attribute_find(node, "perm");
    char turned[8] = "";
    if (!axes || !perm || perm->n_ints != strlen(axes)) return false;
    for (size_t i = 0; i < perm->n_ints; i++) {
        if (perm->ints[i] < 0 || perm->ints[i] >= (int64_t)perm->n_ints ||
            strchr(turned, axes[perm->ints[i]]))
            return false;
        turned[i] = axes[perm->ints[i]];
    }
    char *t = strchr(turned, 'T'), *h = strchr(turned, 'H');
    if (t && h && h < t && !strchr(turned, 'D')) { /* such a value no layer reads: it is turned */
        TransposeSpec spec = {.order = SHAPE(2, 1)};
        if (!onnx_add(reader, node, layer_find("transpose"), &spec, 1,
                      &onnx_value(reader, node, 0)->node))
            return true;
        *t = 'H';
        *h = 'T';
        onnx_value_named(reader, node->output[0])->axes =
            is_plain(turned) ? NULL : arena_text(reader->arena, "%s", turned);
        return true;
    }
    makes_axes(reader, node, turned);
    return true;
}

bool onnx_drop_direction(OnnxReader *reader, const Onnx__NodeProto *node) {
    const char *axes = axes_of_input(reader, node), *at = axes ? strchr(axes, 'D') : NULL;
    const OnnxConstant *named = onnx_ints(reader, node, "axes", 1);
    if (!at || directions_of(reader, node) != 1 || !named || named->count != 1 ||
        named->i[0] != at - axes)
        return false;
    makes_axes(reader, node, arena_text(reader->arena, "%.*s%s", (int)(at - axes), axes, at + 1));
    return true;
}

bool onnx_join_directions(OnnxReader *reader, const Onnx__NodeProto *node) {
    const char *axes = axes_of_input(reader, node);
    const OnnxConstant *to = onnx_ints(reader, node, "shape", 1);
    size_t rank = axes ? strlen(axes) : 0;
    if (rank < 3 || strcmp(axes + rank - 2, "DH") != 0 || !to || to->count != rank - 1)
        return false;
    const Shape *shape = &reader->net->node[onnx_value(reader, node, 0)->node].shape;
    int64_t width = to->i[rank - 2];
    if (width != -1 && width != shape->dim[shape->rank - 1]) return false;
    makes_axes(reader, node, arena_text(reader->arena, "%.*sH", (int)rank - 2, axes));
    return true;
}

static void set_output(RecurrentLayerSpec *spec, const char *word) {
    const Field *field = field_find(recurrent_fields, "output");
    field->type->parse(field, 1, word, &spec->output);
}

/* Does all that the layer gives go through the value that `node` reads, and nowhere else? */
static bool is_only_way(const OnnxReader *reader, const Onnx__NodeProto *node) {
    while (!onnx_recurrent(node->op_type)) {
        const OnnxValue *value = onnx_value(reader, node, 0);
        if (!value || value->readers != 1 || value->maker < 0) return false;
        node = reader->proto->node[value->maker];
    }
    return true;
}

/* The layer as it is, but for what it gives: where it ends instead of every step. It is the net's
 * last node. */
static bool give_last(OnnxReader *reader, const Onnx__NodeProto *node, int index) {
    Graph *net = reader->net;
    if (index != net->nodes - 1 || !is_only_way(reader, node)) return false;
    Node all = net->node[index];
    RecurrentLayerSpec spec = *(const RecurrentLayerSpec *)all.spec;
    set_output(&spec, "last");
    Error reason = {0};
    graph_drop(net);
    Node *last = graph_add(net, all.name, all.layer, &spec, all.inputs, all.in, &reason);
    CHECK(last, "%s: %s", all.name, reason.message);
    for (int p = 0; p < last->params; p++)
        memcpy(last->param[p].tensor->data, all.param[p].tensor->data,
               sizeof(float) * last->param[p].tensor->count);
    onnx_makes(reader, node, index);
    return true;
}

/* The last step of one direction, or the one direction of where the layer ends. */
bool onnx_take_last(OnnxReader *reader, const Onnx__NodeProto *node) {
    const char *axes = axes_of_input(reader, node);
    const OnnxConstant *at = onnx_known(reader, node, 1);
    int index = axes ? onnx_value(reader, node, 0)->node : -1;
    const Node *from = index >= 0 ? &reader->net->node[index] : NULL;
    if (!from || !is_recurrent(from) || !at || !at->i || at->shape.rank != 0 ||
        directions_of(reader, node) != 1)
        return false;
    int64_t axis = onnx_int_of(node, "axis", 0);
    if (axis < 0) axis += (int64_t)strlen(axes);
    char name = axis >= 0 && axis < (int64_t)strlen(axes) ? axes[axis] : 0;
    if (name == 'D' && strlen(axes) == 3 && (at->i[0] == 0 || at->i[0] == -1)) {
        onnx_makes(reader, node, index);
        return true;
    }
    bool last = at->i[0] == -1 || at->i[0] == from->shape.dim[0] - 1;
    return name == 'T' && strlen(axes) == 3 && from->shape.rank == 2 && last &&
           give_last(reader, node, index);
}

/* --- the operator --- */

/* Are the activations, if any are said, the cell's own, in each direction? */
static bool own_activations(const Onnx__NodeProto *node, const OnnxRecurrent *kind,
                            size_t directions) {
    const Onnx__AttributeProto *said = onnx_attribute_find(node, "activations");
    size_t each = 0;
    while (each < ONNX_GATES && kind->activation[each]) each++;
    if (said && said->n_strings != directions * each) return false;
    for (size_t i = 0; said && i < said->n_strings; i++) {
        const char *own = kind->activation[i % each];
        if (said->strings[i].len != strlen(own) ||
            memcmp(said->strings[i].data, own, said->strings[i].len) != 0)
            return false;
    }
    return true;
}

/* Its attributes say nothing that the layer cannot do. */
static bool is_usual(const Onnx__NodeProto *node, const OnnxRecurrent *kind, bool *both) {
    const Onnx__AttributeProto *direction = onnx_attribute_find(node, "direction");
    *both = direction && onnx_says(direction, "bidirectional");
    if (direction && !*both && !onnx_says(direction, "forward")) return false;
    return own_activations(node, kind, *both ? 2 : 1) && !onnx_attribute_find(node, "clip") &&
           !onnx_int_of(node, "input_forget", 0) && node->n_input < 8;
}

/* Lengths are not given, and states begin with zeros. */
static bool begins_with_zeros(OnnxReader *reader, const Onnx__NodeProto *node) {
    if (node->n_input > 4 && *node->input[4]) return false;
    for (size_t k = 5; k < node->n_input; k++) {
        const OnnxConstant *state = onnx_known(reader, node, k);
        if (!*node->input[k]) continue;
        if (!state || !state->f) return false;
        for (size_t i = 0; i < state->count; i++)
            if (state->f[i] != 0) return false;
    }
    return true;
}

/* Part `part` of `parts` of the constant [D, parts G H, ...] becomes a parameter, gate by gate. */
static bool fill_gates(const Node *layer, const OnnxRecurrent *kind, const OnnxConstant *from,
                       int part, int parts, int direction, const char *what) {
    char name[32];
    strcat(strcpy(name, what), direction ? "_l0_reverse" : "_l0");
    Tensor *to = node_tensor(layer, name);
    int directions = 1 + ((const RecurrentLayerSpec *)layer->spec)->bidirectional;
    if (!from->f || from->count != to->count * (size_t)(parts * directions) ||
        !floats_finite(from->f, from->count))
        return false;
    size_t gate = to->count / (size_t)kind->gates;
    const float *at = from->f + (size_t)(direction * parts + part) * to->count;
    for (int g = 0; g < kind->gates; g++)
        memcpy(to->data + (size_t)kind->order[g] * gate, at + (size_t)g * gate, gate * sizeof *at);
    return true;
}

static bool fill(OnnxReader *reader, const Onnx__NodeProto *node, const Node *layer,
                 const OnnxRecurrent *kind) {
    const OnnxConstant *w = onnx_known(reader, node, 1), *r = onnx_known(reader, node, 2);
    const OnnxConstant *b = onnx_known(reader, node, 3);
    const RecurrentLayerSpec *spec = layer->spec;
    bool ok = w && r && (b || !spec->bias);
    for (int d = 0; ok && d <= spec->bidirectional; d++)
        ok = fill_gates(layer, kind, w, 0, 1, d, "weight_ih") &&
             fill_gates(layer, kind, r, 0, 1, d, "weight_hh") &&
             (!spec->bias || (fill_gates(layer, kind, b, 0, 2, d, "bias_ih") &&
                              fill_gates(layer, kind, b, 1, 2, d, "bias_hh")));
    if (!ok) onnx_fault(reader, node, "its weights or biases are not known, or of other sizes");
    return ok;
}

void onnx_read_recurrent(OnnxReader *reader, const Onnx__NodeProto *node) {
    const OnnxRecurrent *kind = onnx_recurrent(node->op_type);
    const OnnxValue *x = onnx_value(reader, node, 0);
    OnnxValue *every = onnx_wanted(reader, node, 0), *end = onnx_wanted(reader, node, 1);
    bool both = false, batch_first = onnx_int_of(node, "layout", 0);
    const char *axes = axes_of_input(reader, node);
    int64_t hidden = onnx_int_of(node, "hidden_size", 0);
    const Layer *layer = layer_find(kind->layer);
    if (!axes || strcmp(axes, batch_first ? "NTH" : "TNH") != 0 || (every && end) ||
        onnx_wanted(reader, node, 2) || !is_usual(node, kind, &both) || hidden < 1 ||
        hidden > 1 << 14 || !begins_with_zeros(reader, node)) {
        onnx_fault(
            reader, node,
            "only steps x[T,N,F] (layout=1: x[N,T,F]), from zeros on, with usual activations "
            "and one result, can be had");
        return;
    }
    RecurrentLayerSpec *spec = onnx_spec(reader, layer, 1);
    spec->hidden = (int)hidden;
    spec->bidirectional = both;
    spec->bias = node->n_input > 3 && *node->input[3];
    set_output(spec, end ? "last" : "all");
    spec->reset = onnx_int_of(node, "linear_before_reset", 0) ? RESET_AFTER : RESET_BEFORE;
    Node *added = onnx_add(reader, node, layer, spec, 1, &x->node);
    if (!added || !fill(reader, node, added, kind)) return;
    if (*node->output[0]) onnx_value_named(reader, node->output[0])->node = -1;
    OnnxValue *result = every ? every : end;
    result->node = added->index;
    result->axes = every ? batch_first ? "NTDH" : "TDNH" : batch_first ? "NDH" : "DNH";
}
