/* QuantizeLinear and DequantizeLinear (QDQ). Around a value the pair says which grid the value is
 * on; around numbers that are known it makes rounded weights. What comes of it is a calibrated
 * model with exactly these scales and zero points. */
#include <float.h>
#include <math.h>
#include <string.h>

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
    GivenGrid *grid = arena_alloc(reader->arena, sizeof *grid);
    *grid = (GivenGrid){steps.scale[0], steps.zero[0], steps.least, steps.most};
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
    GivenGrid *grid = arena_alloc(reader->arena, sizeof *grid);
    *grid = (GivenGrid){from->codes->scale, from->codes->zero, least->i[0], most->i[0]};
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

static bool same_grid(const GivenGrid *a, const GivenGrid *b) {
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
    const GivenGrid **grid = &reader->given.grid[from->node];
    if (*grid && !same_grid(*grid, from->codes))
        onnx_fault(reader, node, "%s is rounded to two grids", reader->net->node[from->node].name);
    *grid = from->codes;
    onnx_makes(reader, node, from->node);
}

bool onnx_quantized(const OnnxReader *reader) {
    bool any = false;
    for (int i = 0; i < reader->net->nodes; i++)
        any |= reader->given.grid[i] || reader->given.weight[i];
    return any;
}
