/* The numeric contract N1 to N4 and N7 (docs/contract.md): golden numbers computed with exact
 * fractions, and the rounding of every float against the C library's. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/rng.h"
#include "quant/fixedpoint.h"
#include "quant/qparams.h"
#include "tests/golden.h"
#include "tests/scratch.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static void assert_rounds(uint32_t bits) {
    float x = float_of(bits), wanted = rintf(x), got = round_half_even(x);
    if (isnan(x) ? !isnan(got) : bits_of(got) != bits_of(wanted))
        fail_msg("round_half_even(%a) is %a, not %a", (double)x, (double)got, (double)wanted);
}

/* Every exponent with the mantissas that matter: ties, their neighbours, the ends; then anything.
 */
static void rounding_is_rintf(void **state) {
    (void)state;
    Rng rng = rng_stream(1, RNG_TEST, 0);
    for (uint32_t sign = 0; sign < 2; sign++)
        for (uint32_t exponent = 0; exponent < 256; exponent++)
            for (uint32_t bit = 0; bit < 24; bit++)
                for (int step = -2; step <= 2; step++) {
                    uint32_t mantissa = ((1u << bit) - 1 + (uint32_t)step) & 0x7fffff;
                    uint32_t top = sign << 31 | exponent << 23;
                    assert_rounds(top | mantissa);
                    assert_rounds(top | (0x7fffff ^ mantissa));
                    assert_rounds(top | (mantissa << (23 - bit) & 0x7fffff));
                }
    for (int i = 0; i < 3000000; i++) assert_rounds((uint32_t)rng_next(&rng));
    for (int i = -4000; i <= 4000; i++) assert_rounds(bits_of((float)i * 0.5f)); /* all the ties */
}

static void quantize_and_dequantize(void **state) {
    (void)state;
    Golden golden = golden_open("contract.txt", "quantize");
    float x, scale, wanted;
    int zero, qmin, qmax, code;
    while (golden_case(&golden, "%f %f %d %d %d %d %f", &x, &scale, &zero, &qmin, &qmax, &code,
                       &wanted)) {
        QParams q = {1, &scale, &zero, qmin, qmax};
        int32_t got = quantize(&q, 0, x);
        if (got != code)
            fail_msg("%a / %a + %d in %d .. %d: code %d, not %d", (double)x, (double)scale, zero,
                     qmin, qmax, got, code);
        float value = dequantize(&q, 0, code);
        assert_true(value == wanted); /* exact: one float product of exact numbers */
        /* what lies on the grid keeps its code: fake quantization twice is fake quantization once
         */
        assert_int_equal(quantize(&q, 0, value), code);
    }
}

static void codes_of_each_width(void **state) {
    (void)state;
    Arena *arena = arena_new();
    for (int bits = BITS_LEAST; bits <= 16; bits++) {
        int top = 1 << bits, half = top / 2;
        QParams q = qparams_new(arena, &(QuantSpec){.bits = bits}, 3);
        assert_int_equal(q.qmin, 0);
        assert_int_equal(q.qmax, top - 1);
        assert_int_equal(q.channels, 3);
        for (int c = 0; c < 3; c++) assert_true(q.scale[c] == 1 && q.zero_point[c] == 0);
        q = qparams_new(arena, &(QuantSpec){.bits = bits, .is_signed = true}, 1);
        assert_int_equal(q.qmin, -half);
        assert_int_equal(q.qmax, half - 1);
        q = qparams_new(arena, &(QuantSpec){.bits = bits, .is_signed = true, .symmetric = true}, 1);
        assert_int_equal(q.qmin, 1 - half);
        assert_int_equal(q.qmax, half - 1);
    }
    arena_free(arena);
}

static void ranges(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Golden golden = golden_open("contract.txt", "range");
    float lo, hi, scale;
    int bits, is_signed, symmetric, zero;
    while (golden_case(&golden, "%d %d %d %f %f %f %d", &bits, &is_signed, &symmetric, &lo, &hi,
                       &scale, &zero)) {
        QuantSpec spec = {
            .bits = bits, .is_signed = is_signed, .symmetric = symmetric, .per_channel = true};
        QParams q = qparams_new(arena, &spec, 2);
        qparams_set_range(&q, 1, spec.symmetric, lo, hi);
        if (bits_of(q.scale[1]) != bits_of(scale) || q.zero_point[1] != zero)
            fail_msg("%d bits, signed %d, symmetric %d, %a to %a: S %a, Z %d, not %a, %d", bits,
                     is_signed, symmetric, (double)lo, (double)hi, (double)q.scale[1],
                     q.zero_point[1], (double)scale, zero);
        assert_true(q.scale[0] == 1 && q.zero_point[0] == 0);    /* the other channel */
        assert_true(dequantize(&q, 1, quantize(&q, 1, 0)) == 0); /* 0 is always on the grid */
    }
    arena_free(arena);
}

static void biases(void **state) {
    (void)state;
    Golden golden = golden_open("contract.txt", "bias");
    float bias, input_scale, weight_scale;
    int code;
    while (golden_case(&golden, "%f %f %f %d", &bias, &input_scale, &weight_scale, &code))
        assert_int_equal(quantize_bias(bias, input_scale, weight_scale), code);
    assert_int_equal(quantize_bias(0, 1e-30f, FLT_MIN),
                     0); /* scales whose product is 0 in floats */
    assert_int_equal(quantize_bias(-1e-40f, 1e-30f, FLT_MIN), 0);
}

/* With the least weight scale, or any larger, the code of a bias stays within 2^30; just below it
 * does not. */
static void bias_floor(void **state) {
    (void)state;
    Rng rng = rng_stream(2, RNG_TEST, 0);
    for (int i = 0; i < 100000; i++) {
        float bias = rng_normal(&rng) * powf(10, 8 * rng_uniform(&rng) - 4);
        float input = powf(10, 8 * rng_uniform(&rng) - 5);
        float least = bias_scale_floor(bias, input);
        float code = rintf(bias / (input * least));
        assert_true(fabsf(code) < 0x1p30f && fabsf(code) > 0x1.fffp29f);
        assert_int_equal(quantize_bias(bias, input, least), (int32_t)code);
    }
}

static void factors_of_a_sum(void **state) {
    (void)state;
    Golden golden = golden_open("contract.txt", "add");
    float scale[2], out_scale;
    int q[2], zero, shift, m0[2], code;
    while (golden_case(&golden, "%f %f %f %d %d %d %d %d %d %d", &scale[0], &scale[1], &out_scale,
                       &q[0], &q[1], &zero, &shift, &m0[0], &m0[1], &code)) {
        double m[2];
        Multiplier got[2];
        int64_t sum = 0;
        for (int k = 0; k < 2; k++) m[k] = (double)scale[k] / (double)out_scale;
        assert_true(multipliers_joint(2, m, got));
        for (int k = 0; k < 2; k++) {
            assert_int_equal(got[k].m0, m0[k]);
            assert_int_equal(got[k].shift, shift);
            sum += (int64_t)q[k] * got[k].m0;
        }
        assert_int_equal(clamp_code(zero + round_shift(sum, got[0].shift), 0, 255), code);
    }
}

/* The example that PyTorch's sibling toolkit of NVIDIA prints, as the first seed quotes it. Inputs
 * and amax are printed with four digits: the codes follow from them, the printed multiplier
 * 128.0057 does not, only 127 / 0.9921. */
static void tensor_quant_example(void **state) {
    (void)state;
    static const float x[] = {.9817f, .8796f, .9921f, .4611f, .0832f,
                              .1784f, .3674f, .5676f, .3376f, .2119f};
    static const float wanted[] = {126, 113, 127, 59, 11, 23, 47, 73, 43, 27};
    float code[COUNT(x)], fake[COUNT(x)], scale;
    Error error = {0};
    assert_true(tensor_quant(x, COUNT(x), .9921f, 8, false, code, &scale, &error));
    assert_true(scale == 127 / .9921f);
    assert_float_equal(scale, 128.0057f,
                       128.0057f * .00005f / .9921f + .00005f); /* amax +- 0.00005 */
    assert_true(fake_tensor_quant(x, COUNT(x), .9921f, 8, false, fake, &error));
    for (size_t i = 0; i < COUNT(x); i++) {
        assert_true(code[i] == wanted[i]);
        assert_true(fake[i] == wanted[i] / scale);
    }
}

static void tensor_quant_limits(void **state) {
    (void)state;
    static const float x[] = {-2, -1, -0.5f, 0, 0.5f, 1, 2};
    static const float wanted[] = {-127, -127, -64, 0, 64, 127, 127}; /* 63.5 ties to even */
    float code[COUNT(x)], scale;
    Error error = {0};
    assert_true(tensor_quant(x, COUNT(x), 1, 8, false, code, &scale, &error));
    for (size_t i = 0; i < COUNT(x); i++) assert_true(code[i] == wanted[i]);
    assert_true(tensor_quant(x + 3, 4, 1, 8, true, code, &scale, &error)); /* unsigned: 0 .. 255 */
    assert_true(scale == 255 && code[0] == 0 && code[1] == 128 && code[2] == 255 && code[3] == 255);

    for (float amax = 0; amax <= 0x1p-24f; amax += 0x1p-25f) {
        assert_true(tensor_quant(x, COUNT(x), amax, 8, false, code, &scale, &error));
        assert_true(scale == 1);
        for (size_t i = 0; i < COUNT(x); i++) assert_true(code[i] == 0);
    }
    assert_true(tensor_quant(x, COUNT(x), 0x1.000002p-24f, 8, false, code, &scale, &error));
    assert_true(code[0] == -127 && code[6] == 127);
    assert_int_equal(error.code, ERROR_NONE);
}

static void tensor_quant_refuses(void **state) {
    (void)state;
    static const struct {
        float x, amax;
        bool is_unsigned;
        const char *reason;
    } wrong[] = {
        {1, -1, false, "amax"},       {1, NAN, false, "amax"},
        {1, INFINITY, false, "amax"}, {-0x1p-149f, 1, true, "unsigned"},
        {-1, 0, true, "unsigned"},    {NAN, 1, false, "NaN"},
        {NAN, 1, true, "NaN"},
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        float x[] = {0.5f, wrong[i].x}, y[2], scale;
        Error error = {0}, fake = {0};
        assert_false(tensor_quant(x, 2, wrong[i].amax, 8, wrong[i].is_unsigned, y, &scale, &error));
        assert_error(&error, ERROR_INPUT, wrong[i].reason);
        assert_false(fake_tensor_quant(x, 2, wrong[i].amax, 8, wrong[i].is_unsigned, y, &fake));
        assert_error(&fake, ERROR_INPUT, wrong[i].reason);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rounding_is_rintf),
        cmocka_unit_test(quantize_and_dequantize),
        cmocka_unit_test(codes_of_each_width),
        cmocka_unit_test(ranges),
        cmocka_unit_test(biases),
        cmocka_unit_test(bias_floor),
        cmocka_unit_test(factors_of_a_sum),
        cmocka_unit_test(tensor_quant_example),
        cmocka_unit_test(tensor_quant_limits),
        cmocka_unit_test(tensor_quant_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
