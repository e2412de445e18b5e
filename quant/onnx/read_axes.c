#include "quant/onnx/read_axes.h"

#include <string.h>

#include "nn/layers/view.h"

/* --- there and back --- */

static Shape taken(const Shape *from, const Shape *order) {
    Shape shape = {.rank = from->rank};
    for (int d = 0; d < from->rank; d++) shape.dim[d] = from->dim[order->dim[d] - 1];
    return shape;
}

/* Do all that read the value belong to a node that is read already? */
static bool is_over(const OnnxReader *reader, const OnnxValue *value) {
    return value->readers == 1 && value->reader >= 0 && reader->done[value->reader];
}

/* The transpose that makes the value of `in`, if it can be taken back: it was added last, one value
 * of the graph is its, and only `node` reads that; else NULL. */
static const TransposeSpec *lone_transpose(const OnnxReader *reader, const Onnx__NodeProto *node,
                                           int in) {
    const Node *before = &reader->net->node[in];
    if (before->layer != layer_find("transpose") || in != reader->net->nodes - 1 ||
        reader->given.grid[in])
        return NULL;
    const OnnxValue *only = NULL;
    for (int i = 0; i < reader->values; i++) {
        if (reader->value[i].node != in || is_over(reader, &reader->value[i])) continue;
        if (only) return NULL;
        only = &reader->value[i];
    }
    bool read = false;
    for (size_t k = 0; only && k < node->n_input; k++) read |= onnx_value(reader, node, k) == only;
    return read && only->readers == 1 ? before->spec : NULL;
}

/* Two transposes in a row are one, or none: what a tool turned before and after an operator may be
 * what is turned here. */
static int add_transpose(OnnxReader *reader, const Onnx__NodeProto *node, int in,
                         const Shape *order) {
    bool turns = false;
    for (int d = 0; d < order->rank; d++) turns |= order->dim[d] != d + 1;
    if (!turns) return in;
    const TransposeSpec *before = lone_transpose(reader, node, in);
    if (before) {
        Shape both = taken(&before->order, order);
        in = reader->net->node[in].in[0];
        graph_drop(reader->net);
        return add_transpose(reader, node, in, &both);
    }
    TransposeSpec spec = {.order = *order};
    Node *added = onnx_add(reader, node, layer_find("transpose"), &spec, 1, &in);
    return added ? added->index : -1;
}

static int add_reshape(OnnxReader *reader, const Onnx__NodeProto *node, int in,
                       const Shape *shape) {
    if (shape_equal(&reader->net->node[in].shape, shape)) return in;
    Node *added = onnx_add(reader, node, layer_find("reshape"), shape, 1, &in);
    return added ? added->index : -1;
}

/* order: as of a transpose. The other dimensions come in their order, or in that of `before`, a
 * transpose that is then undone as far as may be (NULL: none). */
static Shape order_of(int rank, unsigned axes, const TransposeSpec *before) {
    Shape order = {.rank = rank};
    int at = 0;
    for (int d = 1; d <= rank; d++)
        if (axes >> d & 1) order.dim[at++] = d;
    for (int was = 1; was <= rank; was++)
        for (int d = 1; d <= rank; d++)
            if (!(axes >> d & 1) && (before ? before->order.dim[d - 1] : d) == was)
                order.dim[at++] = d;
    return order;
}

/* `alone`: no other value has to have its dimensions in the same order. */
static int bring(OnnxReader *reader, const Onnx__NodeProto *node, int in, unsigned axes, bool alone,
                 OnnxFront *front) {
    Shape was = reader->net->node[in].shape, merged = {.rank = 1, .dim = {1}};
    int named = __builtin_popcount(axes);
    front->order = order_of(was.rank, axes, alone ? lone_transpose(reader, node, in) : NULL);
    front->turned = taken(&was, &front->order);
    bool many = was.rank - named > SPATIAL; /* the rest, then, as one */
    for (int d = 0; d < was.rank; d++)
        if (d < named)
            merged.dim[0] *= front->turned.dim[d];
        else if (d == named || !many)
            merged.dim[merged.rank++] = front->turned.dim[d];
        else
            merged.dim[1] *= front->turned.dim[d];
    int turned = add_transpose(reader, node, in, &front->order);
    return turned < 0 ? -1 : add_reshape(reader, node, turned, &merged);
}

int onnx_to_front(OnnxReader *reader, const Onnx__NodeProto *node, int in, unsigned axes,
                  OnnxFront *front) {
    return bring(reader, node, in, axes, true, front);
}

int onnx_from_front(OnnxReader *reader, const Onnx__NodeProto *node, int in,
                    const OnnxFront *front) {
    Shape apart = front->turned, back = {.rank = apart.rank};
    size_t rest = 1, count = shape_count(&reader->net->node[in].shape);
    for (int d = 1; d < apart.rank; d++) rest *= (size_t)apart.dim[d];
    if (shape_count(&apart) != count) apart.dim[0] = (int)(count / rest);
    for (int d = 0; d < back.rank; d++) back.dim[front->order.dim[d] - 1] = d + 1;
    int split = add_reshape(reader, node, in, &apart);
    int index = split < 0 ? -1 : add_transpose(reader, node, split, &back);
    if (index >= 0) onnx_makes(reader, node, index);
    return index;
}

/* --- along one dimension --- */

int onnx_axis(const Onnx__NodeProto *node, int64_t absent, int rank) {
    int64_t axis = onnx_int_of(node, "axis", absent);
    if (axis < 0) axis += rank;
    return axis > 0 && axis < rank ? (int)axis : 0;
}

/* Values of one shape but for their channels; others, joined along another dimension, are turned
 * one by one. */
void onnx_join_values(OnnxReader *reader, const Onnx__NodeProto *node) {
    int in[LAYER_MAX_INPUTS], inputs = (int)node->n_input;
    for (int k = 0; k < inputs; k++)
        if ((in[k] = onnx_real(reader, node, (size_t)k)) < 0) return;
    Shape first = reader->net->node[in[0]].shape;
    int axis = onnx_axis(node, 1, first.rank + 1);
    OnnxFront front;
    if (!axis) {
        onnx_fault(reader, node, "it joins along the batch, or along no dimension");
        return;
    }
    for (int k = 0; k < inputs; k++) {
        Shape shape = reader->net->node[in[k]].shape;
        if (axis <= shape.rank) shape.dim[axis - 1] = first.dim[axis - 1];
        if (!shape_equal(&shape, &first)) {
            onnx_fault(reader, node, "its inputs differ in other dimensions than %d", axis);
            return;
        }
    }
    for (int k = 0; k < inputs; k++)
        if ((in[k] = bring(reader, node, in[k], 1u << axis, false, &front)) < 0) return;
    Node *joined = onnx_add(reader, node, layer_find("concat"), NULL, inputs, in);
    if (joined) onnx_from_front(reader, node, joined->index, &front);
}

/* Before opset 13 a softmax ran over all dimensions from its axis on, which was 1 if nothing was
 * said. */
void onnx_read_softmax(OnnxReader *reader, const Onnx__NodeProto *node) {
    int in = onnx_real(reader, node, 0);
    if (in < 0) return;
    int rank = reader->net->node[in].shape.rank + 1;
    int axis = onnx_axis(node, reader->opset < 13 ? 1 : -1, rank);
    unsigned axes = reader->opset < 13 ? (1u << rank) - (1u << axis) : 1u << axis;
    OnnxFront front;
    if (!axis) {
        onnx_fault(reader, node, "it runs over the batch, or no dimension");
        return;
    }
    int turned = onnx_to_front(reader, node, in, axes, &front);
    if (turned < 0) return;
    Node *added = onnx_add(reader, node, layer_find("softmax"), NULL, 1, &turned);
    if (added) onnx_from_front(reader, node, added->index, &front);
}

/* --- transpose --- */

/* Of known weights in two dimensions. */
static void transpose_known(OnnxReader *reader, const Onnx__NodeProto *node,
                            const OnnxConstant *known) {
    OnnxConstant *other = arena_alloc(reader->arena, sizeof *other);
    *other = *known;
    int rows = known->shape.dim[0], columns = known->shape.dim[1];
    other->shape = SHAPE(columns, rows);
    other->axis = 1 - known->axis;
    other->f = arena_alloc(reader->arena, sizeof(float) * known->count);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns; c++)
            other->f[(size_t)c * (size_t)rows + (size_t)r] =
                known->f[(size_t)r * (size_t)columns + (size_t)c];
    onnx_makes_known(reader, node, other);
}

/* Sequences may have their axes in any order for a while; other values keep the batch first. */
void onnx_read_transpose(OnnxReader *reader, const Onnx__NodeProto *node) {
    if (onnx_turn(reader, node)) return;
    const OnnxConstant *known = onnx_known(reader, node, 0);
    const Onnx__AttributeProto *perm = onnx_attribute_find(node, "perm");
    if (known && known->f && known->shape.rank == 2 &&
        (!perm || (perm->n_ints == 2 && perm->ints[0] == 1 && perm->ints[1] == 0))) {
        transpose_known(reader, node, known);
        return;
    }
    int in = onnx_real(reader, node, 0);
    if (in < 0) return;
    Shape order = {.rank = reader->net->node[in].shape.rank};
    unsigned seen = 0;
    bool batch_first = perm && perm->n_ints == (size_t)order.rank + 1 && perm->ints[0] == 0;
    for (int d = 0; batch_first && d < order.rank; d++) {
        int64_t from = perm->ints[1 + d];
        if (from < 1 || from > order.rank) break;
        order.dim[d] = (int)from;
        seen |= 1u << from;
    }
    if (!batch_first || seen != (2u << order.rank) - 2) {
        onnx_fault(reader, node, "it is no order of all dimensions with the batch first");
        return;
    }
    int index = add_transpose(reader, node, in, &order);
    if (index >= 0) onnx_makes(reader, node, index);
}
