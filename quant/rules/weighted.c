/* weighted: convolutions and linear layers, with the batchnorm and relu they absorbed.
 *
 *   training    y = relu(apply(x, FQ(s W), FQ(b')))      s, b' from the fold, differentiable
 *   evaluation  acc = apply(q_x - Z_x, q_w - Z_w) + q_b, exact, then one rounding by N6
 */
#include <stdlib.h>
#include <string.h>

#include "autograd/kernels/parallel.h"
#include "quant/bn.h"
#include "quant/fold.h"
#include "quant/outputs_first.h"
#include "quant/pack.h"
#include "quant/rules/integers.h"
#include "quant/rules/weighted.h"

static Tensor *ones(Tape *tape, Shape shape) {
    Tensor *tensor = tape_tensor(tape, shape);
    for (size_t i = 0; i < tensor->count; i++) tensor->data[i] = 1;
    return tensor;
}

Folded weighted_fold(Tape *tape, const QNode *q, const Node *batchnorm) {
    Tensor *w = op_outputs_first(tape, node_tensor(q->node, "weight"), q->node);
    Tensor *b = node_tensor(q->node, "bias");
    if (batchnorm == q->node) { /* nothing is before it: it is folded into the identity */
        w = ones(tape, w->shape);
        b = NULL;
    }
    if (batchnorm) {
        b = op_fold_bias(tape, b, batchnorm);
        w = op_fold_weight(tape, w, batchnorm);
    }
    return (Folded){w, b, weight_grid(tape->arena, q, w, b)};
}

Tensor *weighted_apply(Tape *tape, const QNode *q, Tensor *x, const Folded *folded) {
    Tensor *w = folded->weight, *b = folded->bias;
    if (q->out->faking && !q->is_float) {
        QParams *grid = arena_alloc(tape->arena, sizeof *grid);
        *grid = folded->grid;
        Ste ste = q->config->ste;
        size_t shared = w->count / (size_t)grid->channels;
        bool learned = q->weight_scale && q->weight_scale->needs_grad;
        w = !learned ? op_fakequant(tape, w, grid, ste)
                     : op_fakequant_learned(tape, w, grid, ste, q->weight_scale,
                                            &q->config->learn->gradient, shared);
        if (b) b = op_fakequant_bias(tape, b, q->in[0]->q.scale[0], grid);
    }
    return q->node->layer->apply(tape, q->node, x, op_layer_order(tape, w, q->node), b);
}

/* Batch normalisation has its modes where a step is made with it: while values are rounded. */
static Tensor *simulate(const Run *run, const QNode *q, Tensor *const in[]) {
    if (run->training && q->batchnorm && q->batchnorm != q->node && q->out->faking && !q->is_float)
        return q->config->bn->simulate(run, q, in[0]);
    Folded folded = weighted_fold(run->tape, q, q->batchnorm);
    return weighted_apply(run->tape, q, in[0], &folded);
}

/* --- freezing --- */

static int channel_of(const WeightedIntegers *w, int o) {
    return w->grid.channels == 1 ? 0 : o;
}
static float scale_of(const WeightedIntegers *w, int o) {
    return w->grid.scale[channel_of(w, o)];
}

static void blank(QNode *q, Arena *arena) {
    WeightLayout layout = node_layout(q->node);
    WeightedIntegers *w = q->integers = arena_zeros(arena, sizeof *w);
    w->outputs = layout.outputs;
    w->depth = layout.runs * layout.run;
    size_t count = (size_t)w->outputs * (size_t)w->depth;
    w->grid = weight_codes(arena, q, w->outputs);
    w->weight = arena_alloc(arena, count);
    w->stored = q->node->layer->layout ? arena_alloc(arena, count) : w->weight;
    if (q->weight.bits < BITS_MOST)
        w->packed = arena_alloc(arena, pack_bytes(w->outputs, w->depth, q->weight.bits));
    w->bias = arena_zeros(arena, sizeof *w->bias * (size_t)w->outputs);
    w->multiplier = arena_zeros(arena, sizeof *w->multiplier * (size_t)w->outputs);
}

static int arrays(const QNode *q, IntegerArray array[RULE_ARRAYS]) {
    const WeightedIntegers *w = q->integers;
    Shape weight = node_tensor(q->node, "weight")->shape;
    int bits = q->weight.bits;
    array[0] = (IntegerArray){.name = "weight", DTYPE_I8, weight, w->stored};
    if (w->packed)
        array[0] =
            (IntegerArray){"weight",  DTYPE_U8, SHAPE(w->outputs, (int)pack_row(w->depth, bits)),
                           w->packed, bits,     weight};
    Shape each = SHAPE(w->outputs), scales = SHAPE(w->grid.channels);
    array[1] = (IntegerArray){.name = "bias", DTYPE_I32, each, w->bias};
    array[2] = (IntegerArray){.name = "weight_fake_quant.scale", DTYPE_F32, scales, w->grid.scale};
    if (q->weight.symmetric) return 3;
    array[3] = (IntegerArray){
        .name = "weight_fake_quant.zero_point", DTYPE_I32, scales, w->grid.zero_point};
    return 4;
}

/* w->weight from w->stored. */
static void arrange(QNode *q) {
    WeightLayout layout = node_layout(q->node);
    const WeightedIntegers *w = q->integers;
    int8_t *to = w->weight;
    for (int o = 0; o < w->outputs; o++)
        for (int k = 0; k < w->depth; k++) *to++ = w->stored[weight_index(&layout, o, k)];
}

/* The proofs, and the multipliers. */
static bool prove(QNode *q, Error *error) {
    WeightedIntegers *w = q->integers;
    int64_t zero = quantizer_zero(q->in[0]), top = quantizer_top(q->in[0]);
    int64_t reach = zero > top - zero ? zero : top - zero; /* the largest |q_x - Z_x| */
    w->largest = 0;
    for (int o = 0; o < w->outputs; o++) {
        int64_t sum = 0, absolute = 0, zero_w = w->grid.zero_point[channel_of(w, o)];
        if (zero_w < w->grid.qmin || zero_w > w->grid.qmax)
            return error_set(error, ERROR_INPUT, "%s.weight: a zero point of %lld, with %d bits",
                             q->node->name, (long long)zero_w, q->weight.bits);
        for (int k = 0; k < w->depth; k++) {
            int64_t code = w->weight[(size_t)o * (size_t)w->depth + (size_t)k];
            if (code < w->grid.qmin || code > w->grid.qmax)
                return error_set(error, ERROR_INPUT, "%s.weight: %lld is no code of %d bits",
                                 q->node->name, (long long)code, q->weight.bits);
            sum += code - zero_w;
            absolute += llabs(code - zero_w);
        }
        /* N5: the true sum, and the kernels' form of it, where Z_x sum(q_w - Z_w) is taken out of
         * the bias. All weights of an output may meet in one place: so it is in the kernels, where
         * padding and the holes of a transposed convolution hold the code Z_x. */
        int64_t bias = w->bias[o], most = absolute * reach + llabs(bias);
        int64_t shifted = absolute * top + llabs(bias - zero * sum);
        most = most > shifted ? most : shifted;
        if (most >= INT64_C(1) << 31 || absolute >= 1 << 24)
            return error_set(
                error, ERROR_INPUT,
                "%s: the sum of output %d can reach %lld, more than 32 bits hold: it needs fewer "
                "bits or inputs",
                q->node->name, o, (long long)most);
        double m =
            (double)q->in[0]->q.scale[0] * (double)scale_of(w, o) / (double)q->out->q.scale[0];
        if (!multiplier_from(m, &w->multiplier[o]))
            return error_set(error, ERROR_INPUT, "%s: output %d: a scale ratio of %g",
                             q->node->name, o, m);
        if (absolute > w->largest) w->largest = absolute;
    }
    return true;
}

/* From what a file held, w->packed or w->stored. */
static bool complete(QNode *q, Arena *arena, Error *error) {
    (void)arena;
    const WeightedIntegers *w = q->integers;
    if (!w->packed) {
        arrange(q);
        return prove(q, error);
    }
    if (!unpack_codes(w->outputs, w->depth, q->weight.bits, w->packed, w->weight))
        return error_set(error, ERROR_INPUT,
                         "%s.weight: a bit is set behind the last code of a row", q->node->name);
    WeightLayout layout = node_layout(q->node);
    const int8_t *from = w->weight;
    for (int o = 0; o < w->outputs; o++)
        for (int k = 0; k < w->depth; k++) w->stored[weight_index(&layout, o, k)] = *from++;
    return prove(q, error);
}

static bool freeze(QNode *q, Arena *arena, Error *error) {
    if (q->weight.bits > BITS_MOST)
        return error_set(error, ERROR_INPUT, "%s: weights of %d bits, integers have %d at most",
                         q->node->name, q->weight.bits, BITS_MOST);
    Tape tape = {.arena = arena}; /* not recording: the fold is the one of training */
    Folded f = weighted_fold(&tape, q, q->batchnorm);
    if (!floats_finite(f.weight->data, f.weight->count) ||
        (f.bias && !floats_finite(f.bias->data, f.bias->count)))
        return error_set(error, ERROR_INPUT, "%s: a weight is NaN or infinite", q->node->name);
    blank(q, arena);
    WeightedIntegers *w = q->integers;
    w->grid = f.grid;
    WeightLayout layout = node_layout(q->node);
    const float *from = f.weight->data;
    for (int o = 0; o < w->outputs; o++)
        for (int k = 0; k < w->depth; k++)
            w->stored[weight_index(&layout, o, k)] =
                (int8_t)quantize(&w->grid, channel_of(w, o), *from++);
    for (int o = 0; f.bias && o < w->outputs; o++)
        w->bias[o] = quantize_bias(f.bias->data[o], q->in[0]->q.scale[0], scale_of(w, o));
    arrange(q);
    if (w->packed) pack_codes(w->outputs, w->depth, q->weight.bits, w->weight, w->packed);
    return prove(q, error);
}

/* --- exact evaluation --- */

/* Adds apply(part, w) * weight to the int32 sums. */
typedef struct Parts {
    const QNode *q;
    const float *sums;
    int32_t *acc;
    int32_t weight;
    int samples;
    size_t sample; /* results of one sample */
    float *y;
} Parts;

static void add_chunk(void *context, int index, int worker) {
    (void)worker;
    const Parts *p = context;
    size_t begin = (size_t)chunk_begin(index) * p->sample;
    size_t end = (size_t)chunk_end(index, p->samples) * p->sample;
    for (size_t i = begin; i < end; i++) p->acc[i] += (int32_t)p->sums[i] * p->weight;
}

static void requantize_chunk(void *context, int index, int worker) {
    (void)worker;
    const Parts *p = context;
    const WeightedIntegers *w = p->q->integers;
    const Quantizer *out = p->q->out;
    int32_t zero = quantizer_zero(out);
    Bounds bounds = rule_bounds(p->q);
    size_t positions = p->sample / (size_t)w->outputs;
    float scale = out->q.scale[0];
    for (int n = chunk_begin(index); n < chunk_end(index, p->samples); n++)
        for (int o = 0; o < w->outputs; o++) {
            size_t row = (size_t)n * p->sample + (size_t)o * positions;
            for (size_t i = row; i < row + positions; i++) {
                int32_t byte = requantize(p->acc[i] + w->bias[o], w->multiplier[o], zero, bounds.lo,
                                          bounds.hi);
                p->y[i] = scale * (float)(byte - zero);
            }
        }
}

/* apply on a tape that is exact. */
static Tensor *apply_exactly(Tape *tape, const Node *node, Tensor *x, Tensor *w) {
    bool before = tape->exact;
    tape->exact = true;
    Tensor *y = node->layer->apply(tape, node, x, w, NULL);
    tape->exact = before;
    return y;
}

/* Float sums of whole numbers are exact while they stay below 2^24. Where they might not, x is cut
 * into digits, x = sum of digit[i] * base^i, small enough that the sums of each digit are exact:
 * apply is linear. */
static Tensor *exact(const Run *run, const QNode *q, Tensor *const in[]) {
    const WeightedIntegers *w = q->integers;
    const Node *node = q->node;
    int samples = in[0]->shape.dim[0];
    int32_t zero = quantizer_zero(q->in[0]), top = quantizer_top(q->in[0]);
    int32_t reach = zero > top - zero ? zero : top - zero;

    Shape shape = node_tensor(node, "weight")->shape;
    Tensor *weight = tape_tensor(run->tape, shape);
    WeightLayout layout = node_layout(node);
    for (int o = 0; o < w->outputs; o++)
        for (int k = 0; k < w->depth; k++) {
            size_t i = weight_index(&layout, o, k);
            weight->data[i] = (float)(w->stored[i] - w->grid.zero_point[channel_of(w, o)]);
        }
    Tensor *rest = rule_codes(run, q->in[0], in[0]);
    Tensor *digit = rest;

    int32_t base = 1 << 16; /* one digit, unless that may exceed 2^24 */
    while (base > 2 && w->largest * (base > reach ? reach : base - 1) >= 1 << 24) base >>= 1;
    bool several = base <= reach;
    if (several) digit = tape_tensor(run->tape, rest->shape);

    Tensor *y = tape_tensor(run->tape, shape_batched(&node->shape, samples));
    Parts parts = {.q = q, .samples = samples, .sample = y->count / (size_t)samples, .y = y->data};
    parts.acc = arena_zeros(run->tape->arena, sizeof(int32_t) * y->count);
    for (int64_t place = 1; place == 1 || (several && place <= reach); place *= base) {
        for (size_t i = 0; several && i < rest->count; i++) { /* truncated division: signs agree */
            int32_t value = (int32_t)rest->data[i];
            digit->data[i] = (float)(value % base);
            rest->data[i] = (float)(value / base);
        }
        parts.sums = apply_exactly(run->tape, node, digit, weight)->data;
        parts.weight = (int32_t)place;
        parallel_along(chunk_count(samples), add_chunk, &parts);
    }
    parallel_along(chunk_count(samples), requantize_chunk, &parts);
    return y;
}

#define WEIGHTED_ROW(kind)                                                                         \
    {                                                                                              \
        .name = kind, .owns_range = true, .simulate = simulate, .freeze = freeze, .blank = blank,  \
        .arrays = arrays, .complete = complete, .exact = exact,                                    \
    }
const Rule weighted_rule = WEIGHTED_ROW("weighted");
/* fold: a batchnorm. Behind a weighted layer it is absorbed; alone it is a weighted layer with one
 * weight for each channel, gamma / sqrt(var + eps). */
const Rule fold_rule = WEIGHTED_ROW("fold");
