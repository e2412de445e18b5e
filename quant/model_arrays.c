/* One walk over a model lists its arrays: parameters of a net in float, integers of a frozen one,
 * ranges of values. */
#include "quant/model_arrays.h"

#include <float.h>
#include <string.h>

const char *const model_grids[2] = {[false] = "per-tensor", [true] = "per-channel"};

static bool is_finite(const Slot *slot, size_t i) {
    return isfinite(((const float *)slot->data)[i]);
}
static bool is_scale(const Slot *slot, size_t i) {
    float scale = ((const float *)slot->data)[i];
    return scale >= FLT_MIN && isfinite(scale);
}
static bool is_variance(const Slot *slot, size_t i) {
    return is_finite(slot, i) && ((const float *)slot->data)[i] >= 0;
}
static bool is_count(const Slot *slot, size_t i) {
    int64_t count = ((const int64_t *)slot->data)[i];
    return count >= 0 && count <= INT64_C(1) << 53;
}

static bool is_symmetric_code(const Slot *slot, size_t i) {
    return ((const int8_t *)slot->data)[i] != -128;
}

static void add_slot(Slots *slots, char *name, Dtype dtype, Shape shape, void *data,
                     bool (*sound)(const Slot *, size_t)) {
    slots->slot[slots->count++] =
        (Slot){.name = name, .dtype = dtype, .shape = shape, .data = data, .sound = sound};
}

static void add_matrix(Slots *slots, char *name, const DynamicMatrix *m) {
    add_slot(slots, name, DTYPE_I8, SHAPE(m->outputs, m->depth), m->weight, is_symmetric_code);
    add_slot(slots, arena_text(slots->arena, "%s_fake_quant.scale", name), DTYPE_F32,
             SHAPE(m->grid.channels), m->grid.scale, is_scale);
}

/* Of a net in float; with `dynamic`, whose matrices are integers. */
static void add_params(Slots *slots, const Node *node, const Dynamic *dynamic) {
    for (int i = 0; i < node->params; i++) {
        const Param *p = &node->param[i];
        char *name = arena_text(slots->arena, "%s.%s", node->name, p->name);
        bool variance = strcmp(p->name, "running_var") == 0;
        if (dynamic && p->matrix) {
            add_matrix(slots, name, dynamic_matrix(dynamic, p));
        } else if (p->counter) { /* a float in memory: exact far beyond any number of steps */
            int64_t *count = arena_alloc(slots->arena, sizeof *count);
            *count = (int64_t)p->tensor->data[0];
            add_slot(slots, name, DTYPE_I64, p->tensor->shape, count, is_count);
            slots->slot[slots->count - 1].counter = p->tensor->data;
        } else {
            add_slot(slots, name, DTYPE_F32, p->tensor->shape, p->tensor->data,
                     variance      ? is_variance
                     : p->positive ? is_scale
                                   : is_finite);
        }
    }
}

static void add_weight_zero(Slots *slots, const QNode *q) {
    if (!q->weight_zero) return;
    char *name = arena_text(slots->arena, "%s.weight_fake_quant.zero_point", q->node->name);
    add_slot(slots, name, DTYPE_I32, q->weight_scale->shape, q->weight_zero, NULL);
}

static void add_integers(Slots *slots, const QNode *q) {
    IntegerArray array[RULE_ARRAYS];
    int count = q->integers && q->rule->arrays ? q->rule->arrays(q, array) : 0;
    for (int i = 0; i < count; i++) {
        add_slot(slots, arena_text(slots->arena, "%s.%s", q->node->name, array[i].name),
                 array[i].dtype, array[i].shape, array[i].data,
                 array[i].dtype == DTYPE_F32 ? is_scale : NULL);
        slots->slot[slots->count - 1].bits = array[i].bits;
        slots->slot[slots->count - 1].codes = array[i].codes;
    }
}

/* What an observer remembers; the histogram while ranges can still be chosen anew. */
static void add_observer(Slots *slots, const char *base, Observer *seen) {
    Arena *arena = slots->arena;
    Shape scalar = {0};
    Histogram *h = seen->histogram;
    add_slot(slots, arena_text(arena, "%s.min_val", base), DTYPE_F32, scalar, &seen->min,
             is_finite);
    add_slot(slots, arena_text(arena, "%s.max_val", base), DTYPE_F32, scalar, &seen->max,
             is_finite);
    add_slot(slots, arena_text(arena, "%s.average_min", base), DTYPE_F32, scalar,
             &seen->average_min, is_finite);
    add_slot(slots, arena_text(arena, "%s.average_max", base), DTYPE_F32, scalar,
             &seen->average_max, is_finite);
    add_slot(slots, arena_text(arena, "%s.batches", base), DTYPE_I64, scalar, &seen->batches,
             is_count);
    if (!h) return;
    add_slot(slots, arena_text(arena, "%s.histogram", base), DTYPE_I64, SHAPE(HISTOGRAM_BINS),
             h->count, is_count);
    add_slot(slots, arena_text(arena, "%s.histogram_zeros", base), DTYPE_I64, scalar, &h->zeros,
             is_count);
    add_slot(slots, arena_text(arena, "%s.histogram_width", base), DTYPE_F32, scalar, &h->width,
             is_scale);
}

static void add_quantizer(Slots *slots, Quantizer *quantizer, bool ranges) {
    const char *base = arena_text(slots->arena, "%s.activation_post_process", quantizer->name);
    Arena *arena = slots->arena;
    if (!quantizer->learned ||
        !ranges) /* a learned one is among the parameters of a net that has them */
        add_slot(slots, arena_text(arena, "%s.scale", base), DTYPE_F32, SHAPE(1),
                 quantizer->q.scale, is_scale);
    add_slot(slots, arena_text(arena, "%s.zero_point", base), DTYPE_I32, SHAPE(1),
             quantizer->q.zero_point, NULL);
    if (ranges) add_observer(slots, base, &quantizer->seen);
}

Slots *model_arrays(const Model *model, Arena *arena) {
    Slots *slots = arena_alloc(arena, sizeof *slots);
    slots->arena = arena;
    slots->count = 0;
    bool frozen = model->stage == STAGE_FROZEN, integers = frozen && !model->dynamic;
    for (int i = 0; i < model->graph->nodes; i++) {
        const QNode *q = model->quant ? &model->quant->node[i] : NULL;
        if (integers) {
            add_integers(slots, q);
            continue;
        }
        add_params(slots, &model->graph->node[i], model->dynamic);
        if (q) add_weight_zero(slots, q);
    }
    for (int i = 0; model->quant && i < model->quant->quantizers; i++)
        add_quantizer(slots, model->quant->quantizer[i], !frozen);
    return slots;
}

json_t *slots_packed(const Slots *slots) {
    json_t *packed = NULL;
    for (int i = 0; i < slots->count; i++) {
        const Slot *s = &slots->slot[i];
        if (!s->bits) continue;
        json_t *shape = json_array();
        for (int d = 0; d < s->codes.rank; d++)
            json_array_append_new(shape, json_integer(s->codes.dim[d]));
        if (!packed) packed = json_object();
        json_object_set_new(packed, s->name,
                            json_pack("{s:i, s:o}", "bits", s->bits, "shape", shape));
    }
    return packed;
}
