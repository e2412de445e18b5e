/* Operators that compute with dimensions, and those that give values another shape. PyTorch writes
 * x.view(x.size(0), -1) as Shape, Gather, Unsqueeze, Concat, Reshape: whole numbers that are known
 * before the net runs, the batch apart (ONNX_BATCH). */
#include <string.h>

#include "quant/onnx/read.h"

OnnxConstant *onnx_new_ints(OnnxReader *reader, int count) {
    OnnxConstant *ints = arena_zeros(reader->arena, sizeof *ints);
    ints->type = ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
    ints->shape = SHAPE(count);
    ints->count = (size_t)count;
    ints->i = arena_zeros(reader->arena, sizeof *ints->i * (size_t)count);
    return ints;
}

/* Whole numbers in one dimension, or one number alone, as input k; a fault if they are not known.
 */
const OnnxConstant *onnx_known_ints(OnnxReader *reader, const Onnx__NodeProto *node, size_t k) {
    const OnnxConstant *known = onnx_known(reader, node, k);
    if (known && known->i && known->shape.rank <= 1 && known->count <= MAX_RANK) return known;
    onnx_fault(reader, node, "its input %zu is not known before the net runs", k);
    return NULL;
}

/* An end of a part of `rank` dimensions; below 0 it counts from behind, and none lies outside. */
static int64_t end_of(const Onnx__NodeProto *node, const char *name, int64_t absent, int rank) {
    int64_t at = onnx_int_of(node, name, absent);
    if (at < 0) at += rank;
    return at < 0 ? 0 : at > rank ? rank : at;
}

void onnx_read_shape(OnnxReader *reader, const Onnx__NodeProto *node) {
    int64_t size[MAX_RANK];
    int rank = onnx_named_sizes(reader, node, size);
    int in = rank ? -1 : onnx_real(reader, node, 0);
    if (in >= 0) {
        const Shape *shape = &reader->net->node[in].shape;
        rank = shape->rank + 1;
        for (int d = 0; d < rank; d++) size[d] = d == 0 ? ONNX_BATCH : shape->dim[d - 1];
    }
    if (!rank) return;
    int64_t start = end_of(node, "start", 0, rank), end = end_of(node, "end", rank, rank);
    OnnxConstant *ints = onnx_new_ints(reader, end > start ? (int)(end - start) : 0);
    for (int64_t d = start; d < end; d++) ints->i[d - start] = size[d];
    onnx_makes_known(reader, node, ints);
}

/* The dimensions of a result of `rank` that the axes name, as bits. */
static unsigned axes_of(const OnnxConstant *axes, int rank) {
    unsigned bits = 0;
    for (size_t i = 0; axes && i < axes->count; i++) {
        int64_t axis = axes->i[i] < 0 ? axes->i[i] + rank : axes->i[i];
        bits |= axis >= 0 && axis < rank ? 1u << axis : 1; /* outside: as bad as the batch */
    }
    return bits;
}

/* The node of the net whose value input 0 is, and the sample's shape in the file, which has no
 * dimensions if that is one number; -1: a fault is noted. */
static int real_shape(OnnxReader *reader, const Onnx__NodeProto *node, Shape *sample) {
    const OnnxValue *x = onnx_value(reader, node, 0);
    bool single = x && onnx_is_single(x);
    int in = single ? x->node : onnx_real(reader, node, 0);
    if (in >= 0) *sample = single ? (Shape){0} : reader->net->node[in].shape;
    return in;
}

/* What the node makes is the value of `in` under that shape. */
static void makes_shape(OnnxReader *reader, const Onnx__NodeProto *node, int in,
                        const Shape *shape) {
    if (shape->rank == 0)
        onnx_makes_single(reader, node, in);
    else if (shape_equal(shape, &reader->net->node[in].shape))
        onnx_makes(reader, node, in);
    else
        onnx_add(reader, node, layer_find("reshape"), shape, 1, &in);
}

/* Squeeze and Unsqueeze. Of known numbers: between one number and a list of one. Of a value: sizes
 * of 1, not the batch, go or come. */
void onnx_read_squeeze(OnnxReader *reader, const Onnx__NodeProto *node) {
    bool goes = strcmp(node->op_type, "Squeeze") == 0;
    if (goes && onnx_drop_direction(reader, node)) return;
    const OnnxConstant *known = onnx_known(reader, node, 0);
    if (known && known->count == 1 && known->shape.rank <= 1) {
        OnnxConstant *other = arena_alloc(reader->arena, sizeof *other);
        *other = *known;
        other->shape = goes ? (Shape){0} : SHAPE(1);
        onnx_makes_known(reader, node, other);
        return;
    }
    Shape sample, shape = {0};
    int in = real_shape(reader, node, &sample);
    if (in < 0) return;
    const OnnxConstant *axes = onnx_ints(reader, node, "axes", 1);
    Shape from = shape_batched(&sample, 2);
    int rank = goes || !axes ? from.rank : from.rank + (int)axes->count; /* that axes are of */
    unsigned named = axes && axes->count <= MAX_RANK ? axes_of(axes, rank) : 1;
    bool ok = !(named & 1) && rank <= MAX_RANK;
    for (int d = 1, next = 1; ok && d < rank; d++) {
        bool is_named = named >> d & 1;
        int size = goes || !is_named ? next < from.rank ? from.dim[next++] : 0 : 1;
        ok = size > 0 && !(goes && is_named && size != 1);
        if (!(goes && is_named)) shape.dim[shape.rank++] = size;
    }
    if (ok && shape_count(&shape) == shape_count(&sample))
        makes_shape(reader, node, in, &shape);
    else
        onnx_fault(reader, node, "only sizes of 1, and not the batch, go or come");
}

/* Of known numbers: one list. */
void onnx_read_concat(OnnxReader *reader, const Onnx__NodeProto *node) {
    if (!onnx_known(reader, node, 0)) {
        onnx_join_values(reader, node);
        return;
    }
    OnnxConstant *ints = onnx_new_ints(reader, MAX_RANK + 1);
    ints->count = 0;
    for (size_t k = 0; k < node->n_input; k++) {
        const OnnxConstant *part = onnx_known_ints(reader, node, k);
        if (!part) return;
        for (size_t i = 0; i < part->count && ints->count <= MAX_RANK; i++)
            ints->i[ints->count++] = part->i[i];
    }
    ints->shape = SHAPE((int)ints->count);
    onnx_makes_known(reader, node, ints);
}

/* A weight in other dimensions; with as many numbers. */
static void reshape_known(OnnxReader *reader, const Onnx__NodeProto *node,
                          const OnnxConstant *known, const OnnxConstant *to) {
    OnnxConstant *other = arena_alloc(reader->arena, sizeof *other);
    *other = *known;
    int64_t product = 1;
    int free_dim = -1;
    other->shape.rank = (int)to->count;
    for (size_t d = 0; d < to->count; d++) {
        int64_t size = to->i[d] == 0 && (int)d < known->shape.rank ? known->shape.dim[d] : to->i[d];
        if (size == -1 && free_dim < 0)
            free_dim = (int)d;
        else if (size < 1 || size > 1 << 28 || (product *= size) > 1 << 28)
            product = INT32_MAX;
        other->shape.dim[d] = (int)size;
        if (product == INT32_MAX) break;
    }
    if (free_dim >= 0 && product < INT32_MAX) {
        other->shape.dim[free_dim] = (int)((int64_t)known->count / product);
        product *= other->shape.dim[free_dim];
    }
    if (product != (int64_t)known->count || known->scales > 1)
        onnx_fault(reader, node, "%zu numbers cannot have that shape", known->count);
    else
        onnx_makes_known(reader, node, other);
}

/* What Reshape says of a sample: 0 is the size as it is, -1 what is left. False: they do not make
 * as many numbers, or the batch does not stay the first dimension. */
static bool read_sizes(const OnnxReader *reader, const Onnx__NodeProto *node,
                       const OnnxConstant *to, const Shape *from, Shape *shape) {
    int64_t left = (int64_t)shape_count(from), product = 1;
    int free_dim = -1;
    *shape = (Shape){.rank = (int)to->count - 1};
    for (int d = 1; d <= shape->rank; d++) {
        int64_t size = to->i[d];
        if (size == 0 && d <= from->rank && !onnx_int_of(node, "allowzero", 0))
            size = from->dim[d - 1];
        if (size == -1 && free_dim < 0) {
            free_dim = d - 1;
            continue;
        }
        if (size < 1 || size > left || (product *= size) > left) return false;
        shape->dim[d - 1] = (int)size;
    }
    /* the batch: its size, or what is left when all others are known */
    bool batch = to->i[0] == ONNX_BATCH || to->i[0] == 0 ||
                 (reader->batch > 0 && to->i[0] == reader->batch) ||
                 (to->i[0] == -1 && free_dim < 0);
    if (free_dim >= 0) {
        shape->dim[free_dim] = (int)(left / product);
        product *= left / product;
    }
    return batch && product == left;
}

void onnx_read_reshape(OnnxReader *reader, const Onnx__NodeProto *node) {
    const OnnxConstant *to = onnx_ints(reader, node, "shape", 1),
                       *known = onnx_known(reader, node, 0);
    if (!to || to->count > MAX_RANK || !to->count) {
        onnx_fault(reader, node, "its shape is not known before the net runs");
        return;
    }
    if (onnx_join_directions(reader, node)) return;
    if (known) {
        reshape_known(reader, node, known, to);
        return;
    }
    Shape from, shape;
    int in = real_shape(reader, node, &from);
    if (in < 0) return;
    if (!read_sizes(reader, node, to, &from, &shape))
        onnx_fault(reader, node, "its shape does not keep the batch as its first dimension");
    else if (from.rank && shape.rank == 1 && to->i[1] == -1) /* [N, -1] */
        onnx_add(reader, node, layer_find("flatten"), NULL, 1, &in);
    else if (from.rank && shape.rank)
        onnx_add(reader, node, layer_find("reshape"), &shape, 1, &in);
    else
        makes_shape(reader, node, in, &shape);
}

void onnx_read_flatten(OnnxReader *reader, const Onnx__NodeProto *node) {
    Shape from;
    int in = real_shape(reader, node, &from);
    if (in < 0) return;
    int64_t axis = onnx_int_of(node, "axis", 1);
    if (axis < 0) axis += from.rank + 1;
    if (axis != 1)
        onnx_fault(reader, node, "axis is %lld, only 1 can be had", (long long)axis);
    else if (from.rank)
        onnx_add(reader, node, layer_find("flatten"), NULL, 1, &in);
    else
        onnx_makes(reader, node, in);
}

/* Zeros, whatever their number: states that sequences begin with. */
void onnx_read_constantofshape(OnnxReader *reader, const Onnx__NodeProto *node) {
    const Onnx__AttributeProto *value = onnx_attribute_find(node, "value");
    const OnnxConstant *filling = value && value->t ? onnx_constant(value->t, reader->arena) : NULL;
    if (value && !(filling && filling->f && filling->count == 1 && filling->f[0] == 0)) {
        onnx_fault(reader, node, "only zeros can be had");
        return;
    }
    OnnxConstant *zeros = arena_zeros(reader->arena, sizeof *zeros);
    zeros->type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    zeros->count = 1;
    zeros->f = arena_zeros(reader->arena, sizeof *zeros->f);
    onnx_makes_known(reader, node, zeros);
}
