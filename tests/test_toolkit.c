/* What the toolkits of others can do with quantizers, said in stair's words: methods for weights,
 * quantizers without data, choosing anew from what was collected. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quant/e4m3.h"
#include "quant/rules/integers.h"
#include "tests/quantized.h"
#include "tests/random_net.h"
#include "tests/scratch.h"

#define NET                                                                                        \
    "x = input shape=2x6x6\n"                                                                      \
    "a = conv2d x out=4 kernel=3\n"                                                                \
    "r = relu a\n"                                                                                 \
    "f = flatten r\n"                                                                              \
    "fc = linear f out=3"

/* --- weights --- */

/* Frozen with 3-bit weights whose ranges the method chooses. */
static QuantNet *with_weights(const char *method, bool per_channel) {
    QuantConfig config = quant_config_default();
    config.weight.bits = 3;
    config.weight.per_channel = per_channel;
    config.weight.method = method_find(method);
    config.percentile = 80;
    QuantNet *net = quantized_with(quantized_graph(NET), &config);
    Tensor *w = node_tensor(quantized_node(net, "fc")->node, "weight");
    for (size_t i = 0; i < w->count; i++) /* bells with a few outliers, one channel wider */
        w->data[i] *=
            (i % 13 == 0 ? 6.0f : 1.0f) * (i < w->count / 3 ? 10.0f : 1.0f) * fabsf(w->data[i]);
    quantized_calibrate(net);
    quantized_freeze(net);
    return net;
}

static const WeightedIntegers *weights_of(const QuantNet *net) {
    return quantized_node(net, "fc")->integers;
}

/* The squared error of channel c's weights, rounded with this scale. */
static double error_of(const QuantNet *net, int c, float scale) {
    const WeightedIntegers *w = weights_of(net);
    const float *row = node_tensor(quantized_node(net, "fc")->node, "weight")->data;
    double sum = 0;
    for (int k = 0; k < w->depth; k++) {
        float x = row[c * w->depth + k];
        float y = scale * fminf(fmaxf(nearbyintf(x / scale), -3), 3);
        sum += (double)(y - x) * (double)(y - x);
    }
    return sum;
}

/* mse: no scale of a fine comb has an error that is notably smaller (the histogram knows values to
 * 1 part in 1024 of the largest, and ranges are tried at 128ths). */
static void mse_of_weights_is_least(void **state) {
    (void)state;
    QuantNet *net = with_weights("mse", true), *plain = with_weights("minmax", true);
    int clipped = 0; /* channels whose outliers are worth it */
    for (int c = 0; c < 3; c++) {
        float scale = weights_of(net)->grid.scale[c], most = weights_of(plain)->grid.scale[c];
        double mine = error_of(net, c, scale), best = INFINITY;
        for (int i = 1; i <= 1000; i++) best = fmin(best, error_of(net, c, most * (float)i / 1000));
        if (!(mine <= best * 1.02)) fail_msg("channel %d: %g, where %g can be had", c, mine, best);
        clipped += scale < 0.9f * most;
    }
    assert_true(clipped > 0);
    quantized_free(plain);
    quantized_free(net);
}

static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* percentile: four fifths of each channel's absolute values lie inside, to a bin's width. */
static void percentile_of_weights_is_the_quantile(void **state) {
    (void)state;
    for (int per_channel = 0; per_channel < 2; per_channel++) {
        QuantNet *net = with_weights("percentile", per_channel);
        const Tensor *w = node_tensor(quantized_node(net, "fc")->node, "weight");
        size_t channels = per_channel ? 3 : 1, count = w->count / channels;
        float *size = arena_alloc(net->graph->arena, count * sizeof *size);
        for (size_t c = 0; c < channels; c++) {
            for (size_t k = 0; k < count; k++) size[k] = fabsf(w->data[c * count + k]);
            qsort(size, count, sizeof *size, by_size);
            float bin = size[count - 1] / 1024, amax = weights_of(net)->grid.scale[c] * 3;
            float quantile = size[count * 8 / 10];
            if (!(fabsf(amax - quantile) <= 2 * bin + 1e-6f * amax))
                fail_msg("%g, the quantile is %g", (double)amax, (double)quantile);
        }
        quantized_free(net);
    }
}

/* Nothing is remembered: halved weights have half the scale. */
static void chosen_ranges_follow_the_weights(void **state) {
    (void)state;
    static const char *const methods[] = {"minmax", "percentile", "mse", "entropy"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        QuantNet *net = with_weights(methods[i], true);
        Tensor *w = node_tensor(quantized_node(net, "fc")->node, "weight");
        Tensor *b = node_tensor(quantized_node(net, "fc")->node, "bias");
        float before[3];
        memcpy(before, weights_of(net)->grid.scale, sizeof before);
        for (size_t k = 0; k < w->count; k++) w->data[k] /= 2;
        for (size_t k = 0; k < b->count; k++) b->data[k] /= 2;
        assert_true(quant_freeze(net, &(Error){0}));
        for (int c = 0; c < 3; c++) assert_true(weights_of(net)->grid.scale[c] == before[c] / 2);
        memset(w->data, 0, w->count / 3 * sizeof *w->data); /* a channel that is dead */
        assert_true(quant_freeze(net, &(Error){0}));
        for (int k = 0; k < weights_of(net)->depth; k++)
            assert_int_equal(weights_of(net)->weight[k], 0);
        assert_true(isfinite(weights_of(net)->grid.scale[0]));
        quantized_free(net);
    }
}

/* --- data --- */

static bool select_by(QuantNet *net, const char *method, Error *error) {
    *error = (Error){0};
    return quant_select(net, method_find(method), 99.9, error);
}

/* A quantizer that has seen nothing is an error that names it, whatever the method; so is one
 * without a histogram, where the method wants one. */
static void a_quantizer_without_data_is_named(void **state) {
    (void)state;
    QuantNet *net = quantized_net(NET);
    Error error;
    for (int i = 0; method_list[i]; i++) {
        assert_false(select_by(net, method_list[i]->name, &error));
        assert_error(&error, ERROR_INPUT, "x: its quantizer has seen no data");
    }
    quantized_calibrate(net); /* without histograms */
    assert_true(select_by(net, "minmax", &error));
    assert_false(select_by(net, "mse", &error));
    assert_error(&error, ERROR_INPUT, "x: it has a range but no histogram, from which mse would");
    Quantizer *fc = quantized_node(net, "fc")->out;
    fc->seen = (Observer){0};
    assert_false(select_by(net, "minmax", &error));
    assert_error(&error, ERROR_INPUT, "fc: its quantizer has seen no data");
    quantized_free(net);
}

/* One collection serves all methods, in any order, and collecting begins anew when it is asked for.
 */
static void methods_choose_from_one_collection(void **state) {
    (void)state;
    QuantNet *net = quantized_net(NET);
    Error error;
    float scale[2][8];
    quant_collect(net);
    quantized_calibrate(net);
    for (int round = 0; round < 2; round++)
        for (int i = 0; method_list[i]; i++) {
            int m = round ? 4 - i : i; /* back in the other order */
            assert_true(select_by(net, method_list[m]->name, &error));
            scale[round][m] = quantized_node(net, "fc")->out->q.scale[0];
        }
    assert_memory_equal(scale[0], scale[1], 5 * sizeof(float));
    assert_true(scale[0][0] > 0);
    quant_collect(net);
    const Histogram *h = quantized_node(net, "fc")->out->seen.histogram;
    int64_t counted = h->zeros;
    for (int i = 0; i < HISTOGRAM_BINS; i++) counted += h->count[i];
    assert_int_equal(counted, 0);
    quantized_free(net);
}

/* --- fp8 --- */

/* Code 0 .. 126 of the positive numbers, by the format's definition. */
static double e4m3_number(int code) {
    int exponent = code >> 3, mantissa = code & 7;
    return exponent ? (8 + mantissa) * exp2(exponent - 10) : mantissa * exp2(-9);
}

/* Every number is itself; between two neighbours the middle belongs to the even code, and a hair
 * beside it to the nearer one. */
static void e4m3_rounds_to_the_nearest(void **state) {
    (void)state;
    assert_true(e4m3_number(126) == (double)E4M3_MOST);
    for (int sign = -1; sign <= 1; sign += 2) {
        float s = (float)sign;
        for (int code = 0; code < 126; code++) {
            float low = (float)e4m3_number(code), high = (float)e4m3_number(code + 1);
            float middle = (low + high) / 2;
            assert_true(e4m3_round(s * low) == s * low && e4m3_round(s * high) == s * high);
            assert_true(e4m3_round(s * middle) == s * (code % 2 ? high : low));
            assert_true(e4m3_round(s * nextafterf(middle, 0)) == s * low);
            assert_true(e4m3_round(s * nextafterf(middle, 500)) == s * high);
        }
        assert_true(e4m3_round(s * 449) == s * 448 && e4m3_round(s * INFINITY) == s * 448);
    }
    assert_true(isnan(e4m3_round(NAN)));
}

static void e4m3_is_scaled_by_amax(void **state) {
    (void)state;
    const float x[] = {0, 2, -2, 1, 0.97f, 3};
    float y[6];
    assert_true(fake_e4m3_quant(x, 6, 2, y, &(Error){0}));
    /* 0.97 * 224 = 217.28, between 208 and 224 */
    const float expected[] = {0, 2, -2, 1, 1, 2};
    assert_memory_equal(y, expected, sizeof y);
    assert_true(fake_e4m3_quant(x, 6, 0, y, &(Error){0}));
    for (int i = 0; i < 6; i++) assert_true(y[i] == 0);
    Error error = {0};
    assert_false(fake_e4m3_quant(x, 6, -1, y, &error));
    assert_error(&error, ERROR_INPUT, "amax is -1");
    error = (Error){0};
    assert_false(fake_e4m3_quant((float[]){1, NAN}, 2, 1, y, &error));
    assert_error(&error, ERROR_INPUT, "element 1 is NaN");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mse_of_weights_is_least),
        cmocka_unit_test(percentile_of_weights_is_the_quantile),
        cmocka_unit_test(chosen_ranges_follow_the_weights),
        cmocka_unit_test(a_quantizer_without_data_is_named),
        cmocka_unit_test(methods_choose_from_one_collection),
        cmocka_unit_test(e4m3_rounds_to_the_nearest),
        cmocka_unit_test(e4m3_is_scaled_by_amax),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
