/* The descriptor: its fields, its words, its formula against PyTorch, and what it means in a net.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "quant/config/descriptor.h"
#include "quant/method.h"
#include "tests/golden/descriptor.h"
#include "tests/scratch.h"

static json_t *parse(const char *text) {
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    if (!json) fail_msg("no JSON: %s", text);
    return json;
}

static QuantDescriptor read(const char *text) {
    json_t *json = parse(text);
    QuantDescriptor d;
    Error error = {0};
    if (!descriptor_from_json(json, &d, &error)) fail_msg("%s: %s", text, error.message);
    json_decref(json);
    return d;
}

static void refuse(const char *text, const char *fragment) {
    json_t *json = parse(text);
    QuantDescriptor d = {.num_bits = -1};
    Error error = {0};
    if (descriptor_from_json(json, &d, &error)) fail_msg("%s was taken", text);
    assert_error(&error, ERROR_INPUT, fragment);
    assert_int_equal(d.num_bits, -1); /* as it was */
    json_decref(json);
}

static void test_refusals(void **state) {
    (void)state;
    refuse("{\"num_bit\": 8}", "no member 'num_bit'; did you mean num_bits?");
    refuse("{\"colour\": 8}", "no member 'colour'");
    refuse("{\"num_bits\": 1}", "num_bits: expected 2 to 16");
    refuse("{\"num_bits\": 17}", "num_bits: expected 2 to 16");
    refuse("{\"num_bits\": 8.0}", "num_bits: expected 2 to 16");
    refuse("{\"num_bits\": \"8\"}", "num_bits: expected");
    refuse("{\"name\": 3}", "name: expected a text");
    refuse("{\"fake_quant\": 1}", "fake_quant: expected true or false");
    refuse("{\"axis\": \"0\"}", "axis: expected null, an axis or a list");
    refuse("{\"axis\": []}", "axis: expected 1 to 8 axes");
    refuse("{\"axis\": [0, 1.5]}", "axis: expected null, an axis or a list");
    refuse("{\"axis\": 8}", "each from -8 to 7");
    refuse("{\"axis\": [1, 1]}", "axis 1 is named twice");
    refuse("{\"amax\": 0}", "amax: expected a number above 0");
    refuse("{\"amax\": -1}", "amax: expected a number above 0");
    refuse("{\"amax\": 1e300}", "amax: expected a number above 0");
    refuse("{\"amax\": \"1\"}", "amax: expected a number above 0");
    refuse("{\"scale_amax\": 0}", "scale_amax: expected");
    refuse("{\"learn_amax\": \"yes\"}", "learn_amax: expected true or false");
    refuse("{\"learn_amax\": true, \"axis\": 0}", "axis null only");
    refuse("{\"learn_amax\": true, \"fake_quant\": false}", "needs fake_quant");
    refuse("{\"calib_method\": \"maximum\"}", "calib_method: expected max, histogram or a method");
    refuse("{\"calib_method\": 1}", "calib_method: expected");
    refuse("{\"unsigned\": null}", "unsigned: expected");
    refuse("{\"unsigned\": true, \"narrow_range\": true}", "unsigned has none");
    refuse("[]", "is no object");
    refuse("\"QUANT_DESC_9BIT\"", "no predefined descriptor 'QUANT_DESC_9BIT'");
}

static void test_round_trip(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{}",
        "{\"num_bits\":4,\"name\":\"w\",\"axis\":[0,-1],\"amax\":2.5,\"scale_amax\":0.75,\"narrow_"
        "range\":true}",
        "{\"num_bits\":16,\"learn_amax\":true,\"calib_method\":\"histogram\"}",
        "{\"unsigned\":true,\"fake_quant\":false,\"axis\":3,\"calib_method\":\"mse\"}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        QuantDescriptor d = read(texts[i]);
        json_t *once = descriptor_to_json(&d);
        QuantDescriptor again;
        Error error = {0};
        assert_true(descriptor_from_json(once, &again, &error));
        json_t *twice = descriptor_to_json(&again);
        assert_true(json_equal(once, twice));
        assert_int_equal(json_object_size(once), 10); /* the toolkit's fields, all of them */
        json_decref(once);
        json_decref(twice);
    }
}

static void test_predefined(void **state) {
    (void)state;
    int count = 0;
    for (; descriptor_name(count); count++) {
        QuantDescriptor d;
        const char *name = descriptor_name(count);
        assert_true(descriptor_find(name, &d));
        assert_int_equal(d.num_bits, 8);
        assert_true(d.fake_quant && !d.narrow_range && !d.learn_amax);
        assert_int_equal(d.is_unsigned, strstr(name, "UNSIGNED") != NULL);
        assert_int_equal(d.axes, strstr(name, "_PER_CHANNEL") || strstr(name, "_PER_ROW"));
        assert_int_equal(d.axis[0], 0);
    }
    assert_int_equal(count, 9);
    assert_int_equal(read("\"QUANT_DESC_8BIT_LINEAR_WEIGHT_PER_ROW\"").axes, 1);
}

static void test_text(void **state) {
    (void)state;
    Arena *arena = arena_new();
    QuantDescriptor d = read("{\"num_bits\":4,\"unsigned\":true,\"fake_quant\":false,\"axis\":0}");
    assert_string_equal(descriptor_text(&d, arena),
                        "QuantDescriptor(unsigned 4bit real axis=(0) calibrator=max)");
    d = read(
        "{\"name\":\"w\",\"axis\":[0,2],\"amax\":2.5,\"scale_amax\":0.5,\"narrow_range\":true}");
    assert_string_equal(descriptor_text(&d, arena),
                        "w: (8bit fake axis=(0,2) amax=2.5 scale_amax=0.5 narrow calibrator=max)");
    d = read("{\"learn_amax\":true,\"calib_method\":\"histogram\"}");
    assert_string_equal(descriptor_text(&d, arena),
                        "QuantDescriptor(8bit fake per-tensor learned calibrator=histogram)");
    arena_free(arena);
}

/* --- the formula --- */

static Tensor *tensor_of(Arena *arena, Shape shape, const float *x, bool absolute) {
    Tensor *t = tensor_copy(arena, shape, x);
    for (size_t i = 0; absolute && i < t->count; i++) t->data[i] = fabsf(t->data[i]);
    return t;
}

/* The vector of the toolkit's documentation, to the digits it prints. */
static void test_documented_vector(void **state) {
    (void)state;
    static const float codes[] = {126, 113, 127, 59, 11, 23, 47, 73, 43, 27};
    static const double faked[] = {.9843, .8828, .9921, .4609, .0859,
                                   .1797, .3672, .5703, .3359, .2109};
    Arena *arena = arena_new();
    const Tensor *x = tensor_of(arena, SHAPE(10), golden_seed, false);
    float y[10];
    QuantDescriptor d = descriptor_default();
    Error error = {0};
    assert_true(descriptor_quantize(&d, x, y, &error));
    for (int i = 0; i < 10; i++) assert_true(fabs((double)y[i] - faked[i]) < 0.5001e-4);
    d.fake_quant = false;
    assert_true(descriptor_quantize(&d, x, y, &error));
    for (int i = 0; i < 10; i++) assert_true(y[i] == codes[i]);
    arena_free(arena);
}

/* The same float32 operations in the same order: equal, not near. */
static void test_against_pytorch(void **state) {
    (void)state;
    Arena *arena = arena_new();
    for (size_t i = 0; i < sizeof golden_descriptor / sizeof *golden_descriptor; i++) {
        QuantDescriptor d = read(golden_descriptor[i].json);
        const Tensor *x = tensor_of(arena, SHAPE(2, 3, 4), golden_x, d.is_unsigned);
        float y[24];
        Error error = {0};
        assert_true(descriptor_quantize(&d, x, y, &error));
        for (int k = 0; k < 24; k++)
            if (y[k] != golden_descriptor[i].y[k])
                fail_msg("%s: [%d] is %.9g, PyTorch has %.9g", golden_descriptor[i].json, k,
                         (double)y[k], (double)golden_descriptor[i].y[k]);
    }
    arena_free(arena);
}

static void test_fixed_range_and_errors(void **state) {
    (void)state;
    Arena *arena = arena_new();
    const float x[] = {-3, -1, 0.5f, 2};
    const Tensor *t = tensor_of(arena, SHAPE(2, 2), x, false);
    QuantDescriptor d = read("{\"num_bits\":3,\"fake_quant\":false,\"amax\":1.5,\"axis\":0}");
    float y[4];
    Error error = {0};
    assert_true(descriptor_quantize(
        &d, t, y, &error)); /* bound / amax = 3 / 1.5 = 2: -6, -2, 1, 4, clamped */
    assert_true(y[0] == -4 && y[1] == -2 && y[2] == 1 && y[3] == 3);
    d = read("{\"axis\":2}");
    assert_false(descriptor_quantize(&d, t, y, &error));
    assert_error(&error, ERROR_INPUT, "axis: the tensor has 2 dimensions");
    d = read("{\"unsigned\":true}");
    error = (Error){0};
    assert_false(descriptor_quantize(&d, t, y, &error));
    assert_error(&error, ERROR_INPUT, "element 0 is -3, but the codes are unsigned");
    t->data[1] = NAN;
    error = (Error){0};
    assert_false(descriptor_quantize(&(QuantDescriptor){.num_bits = 8, .calib_method = "max"}, t, y,
                                     &error));
    assert_error(&error, ERROR_INPUT, "NaN");
    arena_free(arena);
}

/* --- in a net --- */

static void refuse_spec(const char *text, const char *fragment) {
    QuantDescriptor d = read(text);
    QuantSpec spec;
    Error error = {0};
    assert_false(descriptor_spec(&d, &spec, &error));
    assert_error(&error, ERROR_INPUT, fragment);
}

static void test_spec(void **state) {
    (void)state;
    QuantDescriptor d =
        read("{\"num_bits\":6,\"axis\":0,\"scale_amax\":0.5,\"calib_method\":\"percentile\"}");
    QuantSpec spec;
    Error error = {0};
    assert_true(descriptor_spec(&d, &spec, &error));
    assert_true(spec.bits == 6 && spec.is_signed && spec.symmetric && spec.per_channel &&
                spec.full_range);
    assert_true(spec.scale_amax == 0.5f && spec.amax == 0);
    assert_string_equal(spec.method->name, "percentile");
    QuantDescriptor back = descriptor_of(&spec, NULL);
    json_t *a = descriptor_to_json(&d), *b = descriptor_to_json(&back);
    assert_true(json_equal(a, b));
    json_decref(a);
    json_decref(b);

    d = read("{\"unsigned\":true,\"amax\":6,\"axis\":0,\"calib_method\":\"histogram\"}");
    assert_true(descriptor_spec(&d, &spec, &error));
    assert_true(!spec.is_signed && spec.amax == 6 && !spec.full_range && !spec.per_channel);
    assert_string_equal(spec.method->name, "entropy");

    refuse_spec("{\"axis\":1}", "axis 0, or one in all");
    refuse_spec("{\"axis\":[0,1]}", "axis 0, or one in all");
    refuse_spec("{\"learn_amax\":true}", "learn_amax");
    refuse_spec("{\"fake_quant\":false}", "fake_quant");
}

/* amax and scale_amax choose the scale, the codes follow narrow_range and unsigned. */
static void test_ranges(void **state) {
    (void)state;
    Arena *arena = arena_new();
    QuantSpec spec = {
        .bits = 8, .is_signed = true, .symmetric = true, .amax = 2, .scale_amax = 0.5f};
    float lo = -9, hi = 7;
    spec_range(&spec, &lo, &hi);
    assert_true(lo == -1 && hi == 1);
    QParams q = qparams_new(arena, &spec, 1);
    assert_true(q.qmin == -127 && q.qmax == 127);
    spec.full_range = true;
    qparams_codes(&q, &spec);
    assert_true(q.qmin == -128 && q.qmax == 127);
    qparams_set_range(&q, 0, true, lo, hi);
    assert_true(q.scale[0] == (float)(1.0 / 127) && q.zero_point[0] == 0);
    spec = (QuantSpec){.bits = 4, .symmetric = true, .scale_amax = 3e38f};
    lo = 0, hi = 100;
    spec_range(&spec, &lo, &hi);
    assert_true(isfinite(hi)); /* the product overflows: the largest float */
    qparams_codes(&q, &spec);
    assert_true(q.qmin == 0 && q.qmax == 15);
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_predefined),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_documented_vector),
        cmocka_unit_test(test_against_pytorch),
        cmocka_unit_test(test_fixed_range_and_errors),
        cmocka_unit_test(test_spec),
        cmocka_unit_test(test_ranges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
