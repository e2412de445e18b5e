/* Softmax in integers: powers from a table, shares rounded once, a grid of its own. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "quant/rules/integers.h"
#include "tests/quantized.h"
#include "tests/scratch.h"

/* By hand: S = ln 2 makes powers of two; 1, 1/2, 1/4, 1/4 of a sum of 2. */
static void softmax_shares_by_hand(void **state) {
    (void)state;
    QuantNet *net = quantized_net("x = input shape=4x1x1\ns = softmax x");
    quantized_range(net, "x", 0, 255 * (float)M_LN2);
    const Quantizer *out = quantized_node(net, "s")->out;
    assert_true(out->q.scale[0] == 1.0f / 256 && out->q.zero_point[0] == 0 && out->ready);
    quantized_freeze(net);
    const SoftmaxIntegers *s = quantized_node(net, "s")->integers;
    assert_true(s->bits == 8 && s->power[0] == 1 << 23 && s->power[1] == 1 << 22);
    assert_true(abs(s->power[8] - (1 << 15)) <= 1); /* S is ln 2 but for float's rounding */
    assert_int_equal(s->power[40], 0);
    int64_t whole = INT64_C(2) << 23;
    assert_int_equal(softmax_share(1 << 23, whole, 8), 128);
    assert_int_equal(softmax_share(1 << 21, whole, 8), 32);
    assert_int_equal(softmax_share(1, 3, 8), 85);  /* 85.33 */
    assert_int_equal(softmax_share(2, 3, 8), 171); /* 170.67 */
    assert_int_equal(softmax_share(1, 512, 8), 1); /* 0.5: half up */
    assert_int_equal(softmax_share(5, 5, 8), 256); /* which the grid's end clamps */
    assert_int_equal(softmax_share(0, 5, 8), 0);
    quantized_free(net);
}

/* The codes of the program are within one of the float softmax: half a code is rounding, powers are
 * known to 2^-24. */
static void softmax_is_near_the_float_one(void **state) {
    (void)state;
    QuantNet *net =
        quantized_net("x = input shape=1x10x9\nr = reshape x shape=10x3x3\ns = softmax r");
    Rng rng = rng_stream(5, RNG_TEST, 0);
    uint8_t pixels[90], code[90];
    for (int i = 0; i < 90; i++) pixels[i] = (uint8_t)rng_below(&rng, 256);
    quantized_range(net, "x", 0, 1);
    quantized_codes(net, pixels, code);
    for (int p = 0; p < 9; p++) {
        double sum = 0;
        for (int c = 0; c < 10; c++) sum += exp(pixels[9 * c + p] / 255.0);
        for (int c = 0; c < 10; c++) {
            double share = 256 * exp(pixels[9 * c + p] / 255.0) / sum;
            assert_true(fabs(code[9 * c + p] - share) < 0.501);
        }
    }
    quantized_free(net);
}

static void a_softmax_keeps_its_grid(void **state) {
    (void)state;
    for (int bits = 2; bits <= 8; bits++) {
        QuantConfig config = quant_config_default();
        config.edge_bits = bits;
        config.activation.is_signed = bits & 1;
        QuantNet *net =
            quantized_with(quantized_graph("x = input shape=6\ns = softmax x"), &config);
        Quantizer *out = quantized_node(net, "s")->out;
        quantized_calibrate(net);
        quantized_range(net, "s", -3, 17);
        quant_track(net);
        quantized_calibrate(net);
        assert_true(out->q.scale[0] == ldexpf(1, -bits) && out->q.zero_point[0] == out->q.qmin);
        quantized_freeze(net);
        out->q.scale[0] *= 2; /* as a file could say */
        Error error = {0};
        assert_false(quant_freeze(net, &error));
        assert_error(&error, ERROR_INPUT, "s: the grid of a softmax");
        quantized_free(net);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(softmax_shares_by_hand),
        cmocka_unit_test(softmax_is_near_the_float_one),
        cmocka_unit_test(a_softmax_keeps_its_grid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
