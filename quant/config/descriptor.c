#include "quant/config/descriptor.h"

#include <stdio.h>
#include <string.h>

#include "quant/config/members.h"
#include "quant/method.h"

/* The toolkit's words for methods; the other methods go by their own names. Its histogram leaves
 * the choice for later; entropy is TensorRT's. */
static const struct {
    const char *name, *method;
} calib_methods[] = {{"max", "minmax"}, {"histogram", "entropy"}, {NULL, NULL}};

QuantDescriptor descriptor_default(void) {
    return (QuantDescriptor){.num_bits = 8, .fake_quant = true, .calib_method = "max"};
}

/* --- the predefined ones --- */

static const struct {
    const char *name;
    bool is_unsigned, per_channel;
} predefined[] = {
    {"QUANT_DESC_8BIT_PER_TENSOR", false, false},
    {"QUANT_DESC_UNSIGNED_8BIT_PER_TENSOR", true, false},
    {"QUANT_DESC_8BIT_CONV1D_WEIGHT_PER_CHANNEL", false, true},
    {"QUANT_DESC_8BIT_CONV2D_WEIGHT_PER_CHANNEL", false, true},
    {"QUANT_DESC_8BIT_CONV3D_WEIGHT_PER_CHANNEL", false, true},
    {"QUANT_DESC_8BIT_LINEAR_WEIGHT_PER_ROW", false, true},
    {"QUANT_DESC_8BIT_CONVTRANSPOSE1D_WEIGHT_PER_CHANNEL", false, true},
    {"QUANT_DESC_8BIT_CONVTRANSPOSE2D_WEIGHT_PER_CHANNEL", false, true},
    {"QUANT_DESC_8BIT_CONVTRANSPOSE3D_WEIGHT_PER_CHANNEL", false, true},
};
enum { PREDEFINED = sizeof predefined / sizeof *predefined };

const char *descriptor_name(int index) {
    return index < PREDEFINED ? predefined[index].name : NULL;
}

bool descriptor_find(const char *name, QuantDescriptor *descriptor) {
    for (int i = 0; i < PREDEFINED; i++)
        if (strcmp(predefined[i].name, name) == 0) {
            *descriptor = descriptor_default();
            descriptor->is_unsigned = predefined[i].is_unsigned;
            descriptor->axes = predefined[i].per_channel; /* axis[0] is 0 */
            return true;
        }
    return false;
}

/* --- JSON --- */

static bool read_name(const json_t *value, void *place, Error *error) {
    QuantDescriptor *d = place;
    *d->name = 0;
    if (json_is_null(value)) return true;
    if (!json_is_string(value) || json_string_length(value) >= DESCRIPTOR_NAME)
        return error_set(error, ERROR_INPUT, "expected a text of less than %d bytes",
                         DESCRIPTOR_NAME);
    snprintf(d->name, sizeof d->name, "%s", json_string_value(value));
    return true;
}

static bool read_axis(const json_t *value, void *place, Error *error) {
    QuantDescriptor *d = place;
    bool list = json_is_array(value);
    size_t count = json_is_null(value) ? 0 : list ? json_array_size(value) : 1;
    if (count > MAX_RANK || (list && count == 0))
        return error_set(error, ERROR_INPUT, "expected 1 to %d axes, or null", MAX_RANK);
    for (size_t i = 0; i < count; i++) {
        const json_t *axis = list ? json_array_get(value, i) : value;
        json_int_t number = json_integer_value(axis);
        if (!json_is_integer(axis) || number < -MAX_RANK || number >= MAX_RANK)
            return error_set(error, ERROR_INPUT,
                             "expected null, an axis or a list of them, each from %d to %d",
                             -MAX_RANK, MAX_RANK - 1);
        d->axis[i] = (int)number;
    }
    d->axes = (int)count;
    return true;
}

static bool read_calib_method(const json_t *value, void *place, Error *error) {
    const char *name = json_is_string(value) ? json_string_value(value) : "";
    for (int i = 0; calib_methods[i].name; i++)
        if (strcmp(calib_methods[i].name, name) == 0) {
            *(const char **)place = calib_methods[i].name;
            return true;
        }
    const Method *method = method_find(name);
    if (!method)
        return error_set(error, ERROR_INPUT, "expected max, histogram or a method, not '%.40s'",
                         name);
    *(const char **)place = method->name;
    return true;
}

bool descriptor_check(const QuantDescriptor *d, Error *error) {
    if (d->num_bits < BITS_LEAST || d->num_bits > BITS_SIMULATED)
        return error_set(error, ERROR_INPUT, "num_bits is %d, expected %d to %d", d->num_bits,
                         BITS_LEAST, BITS_SIMULATED);
    if (d->learn_amax && d->axes > 0)
        return error_set(error, ERROR_INPUT,
                         "learn_amax learns one range: it goes with axis null only");
    if (d->learn_amax && !d->fake_quant)
        return error_set(error, ERROR_INPUT, "learn_amax needs fake_quant: codes have no gradient");
    if (d->is_unsigned && d->narrow_range)
        return error_set(error, ERROR_INPUT,
                         "narrow_range leaves out a negative code; unsigned has none");
    for (int i = 0; i < d->axes; i++)
        for (int k = 0; k < i; k++)
            if (d->axis[i] == d->axis[k])
                return error_set(error, ERROR_INPUT, "axis %d is named twice", d->axis[i]);
    return true;
}

bool descriptor_from_json(const json_t *json, QuantDescriptor *descriptor, Error *error) {
    QuantDescriptor d = descriptor_default();
    if (json_is_string(json)) {
        if (!descriptor_find(json_string_value(json), &d))
            return error_set(error, ERROR_INPUT, "no predefined descriptor '%.64s'",
                             json_string_value(json));
    } else if (!members_read(json, "descriptor",
                             (Member[]){{"num_bits", member_bits, &d.num_bits},
                                        {"name", read_name, &d},
                                        {"fake_quant", member_bool, &d.fake_quant},
                                        {"axis", read_axis, &d},
                                        {"amax", member_positive, &d.amax},
                                        {"learn_amax", member_bool, &d.learn_amax},
                                        {"scale_amax", member_positive, &d.scale_amax},
                                        {"calib_method", read_calib_method, &d.calib_method},
                                        {"unsigned", member_bool, &d.is_unsigned},
                                        {"narrow_range", member_bool, &d.narrow_range},
                                        {0}},
                             error)) {
        return false;
    }
    if (!descriptor_check(&d, error)) return false;
    *descriptor = d;
    return true;
}

static json_t *positive_to_json(float value) {
    return value > 0 ? json_real((double)value) : json_null();
}

json_t *descriptor_to_json(const QuantDescriptor *d) {
    json_t *axis = d->axes ? json_array() : json_null();
    for (int i = 0; i < d->axes; i++) json_array_append_new(axis, json_integer(d->axis[i]));
    return json_pack("{s:i, s:o, s:b, s:o, s:o, s:b, s:o, s:s, s:b, s:b}", "num_bits", d->num_bits,
                     "name", *d->name ? json_string(d->name) : json_null(), "fake_quant",
                     d->fake_quant, "axis", axis, "amax", positive_to_json(d->amax), "learn_amax",
                     d->learn_amax, "scale_amax", positive_to_json(d->scale_amax), "calib_method",
                     d->calib_method, "unsigned", d->is_unsigned, "narrow_range", d->narrow_range);
}

char *descriptor_text(const QuantDescriptor *d, Arena *arena) {
    char *text =
        *d->name ? arena_text(arena, "%s: (", d->name) : arena_text(arena, "QuantDescriptor(");
    text = arena_text(arena, "%s%s%dbit %s", text, d->is_unsigned ? "unsigned " : "", d->num_bits,
                      d->fake_quant ? "fake" : "real");
    if (d->axes == 0) text = arena_text(arena, "%s per-tensor", text);
    for (int i = 0; i < d->axes; i++)
        text = arena_text(arena, "%s%s%d%s", text, i ? "," : " axis=(", d->axis[i],
                          i == d->axes - 1 ? ")" : "");
    if (d->amax > 0) text = arena_text(arena, "%s amax=%.9g", text, (double)d->amax);
    if (d->scale_amax > 0)
        text = arena_text(arena, "%s scale_amax=%.9g", text, (double)d->scale_amax);
    return arena_text(arena, "%s%s%s calibrator=%s)", text, d->narrow_range ? " narrow" : "",
                      d->learn_amax ? " learned" : "", d->calib_method);
}

/* --- in a net --- */

static const Method *method_of(const char *name) {
    for (int i = 0; calib_methods[i].name; i++)
        if (strcmp(calib_methods[i].name, name) == 0) name = calib_methods[i].method;
    return method_find(name);
}

bool descriptor_spec(const QuantDescriptor *d, QuantSpec *spec, Error *error) {
    if (!descriptor_check(d, error)) return false;
    if (d->axes > 1 || (d->axes == 1 && d->axis[0] != 0))
        return error_set(
            error, ERROR_INPUT,
            "axis: a net has scales by output channel, which is axis 0, or one in all");
    if (d->learn_amax)
        return error_set(
            error, ERROR_INPUT,
            "learn_amax: how ranges move while fine-tuning is said there, for the whole net");
    if (!d->fake_quant)
        return error_set(error, ERROR_INPUT,
                         "fake_quant: a net's values are reals; its codes come with stair freeze");
    *spec = (QuantSpec){.bits = d->num_bits,
                        .is_signed = !d->is_unsigned,
                        .symmetric = true,
                        .per_channel = d->axes == 1,
                        .full_range = !d->is_unsigned && !d->narrow_range,
                        .amax = d->amax,
                        .scale_amax = d->scale_amax,
                        .method = method_of(d->calib_method)};
    if (d->amax > 0) spec->per_channel = false; /* the toolkit's amax takes the place of the axis */
    return true;
}

QuantDescriptor descriptor_of(const QuantSpec *spec, const char *name) {
    CHECK(spec->symmetric, "a descriptor has no zero point");
    QuantDescriptor d = descriptor_default();
    snprintf(d.name, sizeof d.name, "%s", name ? name : "");
    d.num_bits = spec->bits;
    d.axes = spec->per_channel;
    d.amax = spec->amax;
    d.scale_amax = spec->scale_amax;
    if (spec->method)
        d.calib_method = strcmp(spec->method->name, "minmax") ? spec->method->name : "max";
    d.is_unsigned = !spec->is_signed;
    d.narrow_range = spec->is_signed && !spec->full_range;
    return d;
}

/* --- alone --- */

/* strides[k]: how far one step along x's dimension k moves in the table of scales; 0 where they are
 * shared. Returns the number of scales, 0 if x lacks an axis. */
static size_t scale_strides(const QuantDescriptor *d, const Shape *shape,
                            size_t strides[MAX_RANK]) {
    bool own[MAX_RANK] = {false};
    for (int i = 0; i < d->axes && d->amax <= 0; i++) {
        int axis = d->axis[i] < 0 ? d->axis[i] + shape->rank : d->axis[i];
        if (axis < 0 || axis >= shape->rank) return 0;
        own[axis] = true;
    }
    size_t count = 1;
    for (int k = shape->rank - 1; k >= 0; k--) {
        strides[k] = own[k] ? count : 0;
        if (own[k]) count *= (size_t)shape->dim[k];
    }
    return count;
}

static size_t scale_index(const Shape *shape, const size_t strides[], size_t i) {
    size_t at = 0;
    for (int k = shape->rank - 1; k >= 0; k--) {
        at += i % (size_t)shape->dim[k] * strides[k];
        i /= (size_t)shape->dim[k];
    }
    return at;
}

bool descriptor_quantize(const QuantDescriptor *d, const Tensor *x, float *y, Error *error) {
    size_t strides[MAX_RANK], scales = scale_strides(d, &x->shape, strides);
    if (!descriptor_check(d, error)) return false;
    if (!scales)
        return error_set(error, ERROR_INPUT, "axis: the tensor has %d dimensions", x->shape.rank);
    Arena *arena = arena_new();
    float *amax = arena_zeros(arena, sizeof *amax * scales);
    bool ok = floats_finite(x->data, x->count) ||
              error_set(error, ERROR_INPUT, "a value is NaN or infinite");
    for (size_t i = 0; i < x->count; i++) {
        float *a = &amax[scale_index(&x->shape, strides, i)];
        *a = d->amax > 0 ? d->amax : fmaxf(*a, fabsf(x->data[i]));
    }
    float bound = (float)((1 << (d->num_bits - 1 + d->is_unsigned)) - 1);
    float least = d->is_unsigned ? 0 : d->narrow_range ? -bound : -bound - 1;
    for (size_t i = 0; ok && i < x->count; i++) {
        float a =
            amax[scale_index(&x->shape, strides, i)] * (d->scale_amax > 0 ? d->scale_amax : 1);
        float times = bound / a;
        if (d->is_unsigned && x->data[i] < 0)
            ok = error_set(error, ERROR_INPUT, "element %zu is %g, but the codes are unsigned", i,
                           (double)x->data[i]);
        float code =
            a <= 0x1p-24f ? 0 : clamp_float(round_half_even(x->data[i] * times), least, bound);
        y[i] = d->fake_quant && a > 0x1p-24f ? code / times : code;
    }
    arena_free(arena);
    return ok;
}
