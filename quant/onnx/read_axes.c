#include "quant/onnx/read_axes.h"

#include <string.h>

#include "nn/layers/view.h"

/* --- there and back --- */

static Shape taken(const Shape *from, const Shape *order) {
    Shape shape = {.rank = from->rank};
    for (int d = 0; d < from->rank; d++) shape.dim[d] = from->dim[order->dim[d] - 1];
    return shape;
}

static int add_transpose(OnnxReader *reader, const Onnx__NodeProto *node, int in,
                         const Shape *order) {
    bool turns = false;
    for (int d = 0; d < order->rank; d++) turns |= order->dim[d] != d + 1;
    TransposeSpec spec = {.order = *order};
    Node *added = turns ? onnx_add(reader, node, layer_find("transpose"), &spec, 1, &in) : NULL;
    return turns ? added ? added->index : -1 : in;
}

static int add_reshape(OnnxReader *reader, const Onnx__NodeProto *node, int in,
                       const Shape *shape) {
    if (shape_equal(&reader->net->node[in].shape, shape)) return in;
    Node *added = onnx_add(reader, node, layer_find("reshape"), shape, 1, &in);
    return added ? added->index : -1;
}

int onnx_to_front(OnnxReader *reader, const Onnx__NodeProto *node, int in, unsigned axes,
                  OnnxFront *front) {
    Shape was = reader->net->node[in].shape, merged = {.rank = 1, .dim = {1}};
    int named = 0;
    front->order = (Shape){.rank = was.rank};
    for (int d = 1; d <= was.rank; d++)
        if (axes >> d & 1) front->order.dim[named++] = d;
    for (int d = 1, at = named; d <= was.rank; d++)
        if (!(axes >> d & 1)) front->order.dim[at++] = d;
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
        onnx_fault(reader, node, "along the batch, or no dimension");
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
        if ((in[k] = onnx_to_front(reader, node, in[k], 1u << axis, &front)) < 0) return;
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
    int rank = reader->net->node[in].shape.rank;
    Shape order = {.rank = rank};
    bool batch_first = perm && perm->n_ints == (size_t)rank + 1 && perm->ints[0] == 0;
    for (int d = 0; batch_first && d < rank; d++)
        order.dim[d] =
            perm->ints[1 + d] > 0 && perm->ints[1 + d] <= rank ? (int)perm->ints[1 + d] : MAX_RANK;
    if (!batch_first) {
        onnx_fault(reader, node, "the batch does not stay the first dimension");
        return;
    }
    TransposeSpec spec = {.order = order};
    bool same = true;
    for (int d = 0; d < rank; d++) same &= order.dim[d] == d + 1;
    if (same)
        onnx_passes(reader, node, 0);
    else
        onnx_add(reader, node, layer_find("transpose"), &spec, 1, &in);
}
