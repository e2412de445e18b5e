/* Slice and Gather: parts of a value along its dimensions, of sizes that are known, and what is
 * taken of sequences. */
#include <string.h>

#include "nn/layers/view.h"
#include "quant/onnx/read.h"

/* Places begin, begin + step, ... before end. */
typedef struct Part {
    int64_t begin, end, step;
} Part;

static int64_t within(int64_t x, int64_t most) {
    return x < 0 ? 0 : x > most ? most : x;
}

/* As Slice says it: ends below 0 count from the end, and none lies outside; a step of the size and
 * more leaves one place. */
static Part part_of(int64_t begin, int64_t end, int64_t step, int64_t size) {
    return (Part){within(begin < 0 ? begin + size : begin, size),
                  within(end < 0 ? end + size : end, size), step > size ? size : step};
}

/* The node of the net whose value is the part of that of `in`, which may be all of it; -1: the
 * fault is noted. */
static int add_part(OnnxReader *reader, const Onnx__NodeProto *node, int in, int axis, Part part) {
    int size = reader->net->node[in].shape.dim[axis - 1];
    if (part.begin == 0 && part.end == size && part.step == 1) return in;
    SliceSpec spec = {
        .axis = axis, .begin = (int)part.begin, .end = (int)part.end, .step = (int)part.step};
    Node *added = onnx_add(reader, node, layer_find("slice"), &spec, 1, &in);
    return added ? added->index : -1;
}

/* --- Slice --- */

/* What a Slice says: lists of one length. */
typedef struct Slices {
    size_t count;
    const OnnxConstant *start, *end, *axis, *step; /* axis NULL: 0 1 2 ...; step NULL: 1 */
} Slices;

static bool read_slices(OnnxReader *reader, const Onnx__NodeProto *node, Slices *s) {
    *s = (Slices){.start = onnx_ints(reader, node, "starts", 1),
                  .end = onnx_ints(reader, node, "ends", 2),
                  .axis = onnx_ints(reader, node, "axes", 3),
                  .step = onnx_ints(reader, node, "steps", 4)};
    bool named = node->n_input < 4 || !*node->input[3] || s->axis;
    bool stepped = node->n_input < 5 || !*node->input[4] || s->step;
    s->count = s->start ? s->start->count : 0;
    return s->count && s->count < MAX_RANK && s->end && s->end->count == s->count && named &&
           (!s->axis || s->axis->count == s->count) && stepped &&
           (!s->step || s->step->count == s->count);
}

static Part slice_number(const Slices *s, size_t i, int64_t size) {
    return part_of(s->start->i[i], s->end->i[i], s->step ? s->step->i[i] : 1, size);
}

/* Of sizes: x.shape[1:3]. */
static void slice_known(OnnxReader *reader, const Onnx__NodeProto *node, const Slices *s) {
    const OnnxConstant *from = onnx_known_ints(reader, node, 0);
    if (!from) return;
    Part part = slice_number(s, 0, (int64_t)from->count);
    OnnxConstant *ints = onnx_new_ints(reader, (int)from->count);
    ints->count = 0;
    for (int64_t i = part.begin; part.step > 0 && i < part.end; i += part.step)
        ints->i[ints->count++] = from->i[i];
    ints->shape = SHAPE((int)ints->count);
    if (s->count == 1 && part.step > 0)
        onnx_makes_known(reader, node, ints);
    else
        onnx_fault(reader, node, "it cuts sizes backwards, or in several dimensions");
}

static void slice_value(OnnxReader *reader, const Onnx__NodeProto *node, const Slices *s) {
    int in = onnx_real(reader, node, 0);
    for (size_t i = 0; in >= 0 && i < s->count; i++) {
        const Shape *shape = &reader->net->node[in].shape;
        int64_t axis = s->axis ? s->axis->i[i] : (int64_t)i;
        if (axis < 0) axis += shape->rank + 1;
        bool batch = axis == 0;
        int64_t size = batch                             ? reader->batch ? reader->batch : INT32_MAX
                       : axis > 0 && axis <= shape->rank ? shape->dim[axis - 1]
                                                         : 0;
        Part part = slice_number(s, i, size);
        if (part.step < 1 || part.begin >= part.end ||
            (batch && (part.begin || part.end != size || part.step != 1))) {
            onnx_fault(reader, node, "it cuts the batch, goes backwards, or leaves nothing");
            return;
        }
        if (!batch) in = add_part(reader, node, in, (int)axis, part);
    }
    if (in >= 0) onnx_makes(reader, node, in);
}

void onnx_read_slice(OnnxReader *reader, const Onnx__NodeProto *node) {
    const OnnxConstant *known = onnx_known(reader, node, 0);
    Slices slices;
    if (known && known->f && known->count == 1 && known->f[0] == 0) /* states that begin with 0 */
        onnx_passes(reader, node, 0);
    else if (!read_slices(reader, node, &slices))
        onnx_fault(reader, node, "its ends are not known before the net runs");
    else if (known)
        slice_known(reader, node, &slices);
    else
        slice_value(reader, node, &slices);
}

/* --- Gather --- */

static void gather_known(OnnxReader *reader, const Onnx__NodeProto *node) {
    const OnnxConstant *from = onnx_known_ints(reader, node, 0),
                       *at = from ? onnx_known_ints(reader, node, 1) : NULL;
    if (!at) return;
    OnnxConstant *ints = onnx_new_ints(reader, (int)at->count);
    ints->shape = at->shape;
    for (size_t i = 0; i < at->count; i++) {
        int64_t index = at->i[i] < 0 ? at->i[i] + (int64_t)from->count : at->i[i];
        if (index < 0 || index >= (int64_t)from->count || onnx_int_of(node, "axis", 0)) {
            onnx_fault(reader, node, "index %lld of %zu", (long long)index, from->count);
            return;
        }
        ints->i[i] = from->i[index];
    }
    onnx_makes_known(reader, node, ints);
}

/* Indices that go on in equal steps. */
static bool even_part(const OnnxConstant *at, int64_t size, Part *part) {
    if (!at || !at->i || !at->count) return false;
    for (size_t i = 0; i < at->count; i++) {
        int64_t index = at->i[i] < 0 ? at->i[i] + size : at->i[i];
        if (index < 0 || index >= size) return false;
        if (i == 0) *part = (Part){index, index, 1};
        if (i == 1) part->step = index - part->begin;
        if (index != part->begin + (int64_t)i * part->step || part->step < 1) return false;
        part->end = index + 1;
    }
    return true;
}

/* x[:, i], x[:, i:k:s]: the dimension becomes those of the indices. */
static void gather_value(OnnxReader *reader, const Onnx__NodeProto *node) {
    int in = onnx_real(reader, node, 0);
    if (in < 0) return;
    Shape from = reader->net->node[in].shape, shape = {0};
    const OnnxConstant *at = onnx_known(reader, node, 1);
    int64_t axis = onnx_int_of(node, "axis", 0);
    if (axis < 0) axis += from.rank + 1;
    Part part;
    if (axis < 1 || axis > from.rank || !even_part(at, from.dim[axis - 1], &part) ||
        from.rank + at->shape.rank > MAX_RANK) {
        onnx_fault(reader, node,
                   "it takes of the batch, or at places that are not known or unevenly spaced");
        return;
    }
    for (int d = 0; d < from.rank; d++)
        for (int i = 0; i < (d == axis - 1 ? at->shape.rank : 1); i++)
            shape.dim[shape.rank++] = d == axis - 1 ? at->shape.dim[i] : from.dim[d];
    int part_node = add_part(reader, node, in, (int)axis, part);
    if (part_node < 0) return;
    onnx_makes(reader, node, part_node);
    if (shape.rank == 0)
        onnx_makes_single(reader, node, part_node);
    else if (!shape_equal(&shape, &reader->net->node[part_node].shape))
        onnx_add(reader, node, layer_find("reshape"), &shape, 1, &part_node);
}

void onnx_read_gather(OnnxReader *reader, const Onnx__NodeProto *node) {
    if (onnx_take_last(reader, node)) return;
    if (onnx_known(reader, node, 0))
        gather_known(reader, node);
    else
        gather_value(reader, node);
}
