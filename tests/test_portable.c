/* Portable scales: no sum of whole numbers lies near the middle between two codes, so that float32,
 * which is off by some millionths there, gives the codes of the integers. What is not portable is
 * tried alike, to see that the tests would notice. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "quant/fixedpoint.h"
#include "quant/model.h"
#include "quant/portable.h"
#include "tests/program.h"
#include "tests/quantized.h"
#include "tests/random_net.h"

enum {
    TRIALS = 60,
    SUM_MOST = 1 << 18, /* nets of 8 bits stay below */
    CODE_MOST = 300,    /* what is further out is clamped, whatever it is */
};

static Rng rng_of(int test) {
    return rng_stream(20, RNG_TEST, (uint64_t)test);
}

/* least .. most, every order of magnitude alike. */
static float random_scale(Rng *rng, float least, float most) {
    return least * powf(most / least, rng_uniform(rng));
}

/* The code of n steps as integers give it, and as a float32 runtime does. */
static int32_t integer_code(int32_t n, double ratio) {
    Multiplier m;
    assert_true(multiplier_from(ratio, &m));
    return requantize(n, m, 0, INT32_MIN, INT32_MAX);
}
static int32_t float_code(float value, float output_scale) {
    return (int32_t)round_half_even(value / output_scale);
}

/* --- weights --- */

/* How many steps are worth looking at. */
static int32_t reach_of(double ratio) {
    double most = CODE_MOST / ratio;
    return most < SUM_MOST ? (int32_t)most : SUM_MOST;
}

/* Sums that the two take to different codes. */
static int differing_sums(float input, float weight, float output) {
    int differ = 0;
    int32_t most = reach_of((double)input * (double)weight / (double)output);
    for (int32_t n = -most; n <= most; n++)
        differ += integer_code(n, (double)input * (double)weight / (double)output) !=
                  float_code((float)n * (input * weight), output);
    return differ;
}

/* How far the nearest sum lies from the middle of two codes, in codes. */
static double least_distance(float input, float weight, float output) {
    double ratio = (double)input * (double)weight / (double)output, least = 1;
    int32_t most = reach_of(ratio);
    for (int32_t n = -most; n <= most; n++) {
        double code = n * ratio, distance = fabs(code - floor(code) - 0.5);
        if (distance < least) least = distance;
    }
    return least;
}

static void weights_scales_keep_sums_off_the_middle(void **state) {
    (void)state;
    Rng rng = rng_of(0);
    int before = 0;
    for (int i = 0; i < TRIALS; i++) {
        float x = random_scale(&rng, 1e-4f, 1), y = random_scale(&rng, 1e-4f, 1);
        float ratio = random_scale(&rng, 0.2f, 3000), w = y / (x * ratio);
        float s = portable_weight_scale(x, w, y);
        /* A step of k, of two as k is odd, of 64 .. 127; floats are rounded. */
        assert_true(s >= w * (1 - 2 * FLT_EPSILON) && s <= w * (1 + 2.0f / 64));
        assert_true(s == portable_weight_scale(x, s, y));
        before += differing_sums(x, w, y);
        assert_int_equal(differing_sums(x, s, y), 0);
        /* 1 / (2 k) codes; what float32 left of the scale moves the farthest sums by a few 2^-24.
         */
        double k = fmax((double)y / ((double)x * (double)s), 127);
        assert_true(least_distance(x, s, y) > 1 / (2 * k) - CODE_MOST * 0x1p-23);
    }
    assert_true(before > 0);
}

static void ratios_out_of_reach_are_left_alone(void **state) {
    (void)state;
    const float far = 1e-9f;
    assert_true(portable_weight_scale(1, 1, far) == 1);
    assert_true(portable_weight_scale(far, far, 1) == far);
}

/* --- values --- */

static Quantizer value_of_scale(float *scale) {
    return (Quantizer){.q = {.channels = 1, .scale = scale}};
}

/* Pairs of codes whose sum or product the two take to different codes. */
static int differing_pairs(bool product, float a, float b, float y) {
    double m[] = {(double)a / (double)y, (double)b / (double)y};
    Multiplier joint[2];
    assert_true(multipliers_joint(2, m, joint));
    int differ = 0;
    for (int32_t i = -255; i <= 255; i++)
        for (int32_t j = -255; j <= 255; j++) {
            float left = a * (float)i, right = b * (float)j;
            if (product)
                differ += integer_code(i * j, (double)a * (double)b / (double)y) !=
                          float_code(left * right, y);
            else
                differ += round_shift((int64_t)i * joint[0].m0 + (int64_t)j * joint[1].m0,
                                      joint[0].shift) != float_code(left + right, y);
        }
    return differ;
}

static void sums_and_products_of_values(void **state) {
    (void)state;
    Rng rng = rng_of(1);
    int before = 0;
    for (int i = 0; i < TRIALS; i++) {
        bool product = i % 2;
        float a = random_scale(&rng, 1e-3f, 1), b = a * random_scale(&rng, 0.125f, 8);
        float y = (product ? a * b * 100 : a) * random_scale(&rng, 0.5f, 4);
        before += differing_pairs(product, a, b, y);

        Quantizer first = value_of_scale(&a), second = value_of_scale(&b);
        Quantizer *const term[] = {&second, &first};
        Alignment to_first = {.base = &first};
        if (!product) {
            float scale = portable_scale(&to_first, b);
            assert_true(scale >= b * (1 - 2 * FLT_EPSILON) && scale <= b * (1 + 1.0f / 64));
            b = scale;
            assert_true(portable_scale(&to_first, b) == b);
        }
        Alignment result = {.base = &first, .odd = true};
        if (product)
            result.factor = &second;
        else
            result.term = term, result.terms = 2;
        float scale = portable_scale(&result, y);
        assert_true(scale >= y * (1 - 2 * FLT_EPSILON) && scale <= y * (1 + 2.0f / 64));
        assert_true(portable_scale(&result, scale) == scale);
        assert_int_equal(differing_pairs(product, a, b, scale), 0);
    }
    assert_true(before > 0);
}

/* A mean of n codes: the sum, divided. */
static int differing_means(int n, float x, float y) {
    int differ = 0;
    int32_t reach = reach_of((double)x / (n * (double)y)), most = reach < 255 * n ? reach : 255 * n;
    for (int32_t sum = -most; sum <= most; sum++)
        differ += integer_code(sum, (double)x / (n * (double)y)) !=
                  float_code(x * (float)sum / (float)n, y);
    return differ;
}

static void means_of_values(void **state) {
    (void)state;
    Rng rng = rng_of(2);
    const int sizes[] = {2, 4, 9, 49, 64, 128};
    int before = 0;
    for (int i = 0; i < TRIALS; i++) {
        int n = sizes[i % 6];
        float x = random_scale(&rng, 1e-3f, 1), y = x * random_scale(&rng, 0.1f, 1);
        Quantizer input = value_of_scale(&x);
        Quantizer *const term[] = {&input};
        Alignment mean = {.base = &input, .odd = true, .terms = 1, .term = term, .places = 7};
        before += differing_means(n, x, i % 2 ? x : y);
        assert_int_equal(differing_means(n, x, portable_scale(&mean, i % 2 ? x : y)), 0);
    }
    assert_true(before > 0); /* halves, where the scale is the input's */
}

/* --- nets --- */

static QuantConfig portable_config(bool portable) {
    QuantConfig config = quant_config_default();
    config.portable = portable;
    return config;
}

/* A multiple k / 2^j of its unit, k odd where that is asked, of any size that floats tell. */
static void assert_aligned(const Quantizer *quantizer) {
    const Alignment *to = &quantizer->align;
    double unit = (double)to->base->q.scale[0] * (to->factor ? (double)to->factor->q.scale[0] : 1);
    double k = (double)quantizer->q.scale[0] / unit * 4096;
    assert_true(fabs(k - rint(k)) < k * 1e-6);
    for (k = rint(k); to->odd && fmod(k, 2) == 0;) k /= 2;
    assert_true(!to->odd || k > 1);
}

static int assert_net_aligned(const QuantNet *net) {
    int aligned = 0;
    for (int i = 0; i < net->quantizers; i++)
        if (net->quantizer[i]->align.base) {
            assert_aligned(net->quantizer[i]);
            aligned++;
        }
    return aligned;
}

/* Who is aligned to whom; a value that two adds read is moved by the first alone. */
static void scales_of_a_net(void **state) {
    (void)state;
    QuantConfig config = portable_config(true);
    QuantNet *net = quantized_with(quantized_graph("x = input shape=3x6x6\n"
                                                   "a = conv2d x out=3 kernel=3 padding=1\n"
                                                   "b = conv2d a out=3 kernel=1\n"
                                                   "sum = add b a\n"
                                                   "c = conv2d sum out=3 kernel=1\n"
                                                   "again = add c a\n"
                                                   "mean = globalavgpool again\n"
                                                   "f = flatten mean\n"
                                                   "fc = linear f out=4\n"),
                                   &config);
    quantized_calibrate(net);
    const Quantizer *a = quantized_node(net, "a")->out, *b = quantized_node(net, "b")->out;
    const Quantizer *sum = quantized_node(net, "sum")->out, *c = quantized_node(net, "c")->out;
    const Quantizer *again = quantized_node(net, "again")->out;
    const Quantizer *mean = quantized_node(net, "mean")->out;
    assert_ptr_equal(a->align.base, NULL);
    assert_ptr_equal(b->align.base, a);
    assert_ptr_equal(sum->align.base, a);
    assert_ptr_equal(c->align.base, a);
    assert_ptr_equal(again->align.base, a);
    assert_ptr_equal(mean->align.base, again);
    assert_int_equal(assert_net_aligned(net), 5);
    quantized_free(net);
}

/* Codes of the simulated walk, float32 sums of real numbers, that are not those of the exact one.
 */
static int differing_values(QuantNet *net, int samples, const float *x) {
    Error error = {0};
    const Graph *graph = net->graph;
    Tensor *simulated[GRAPH_MAX_NODES], *exact[GRAPH_MAX_NODES];
    Tape *tape = tape_new(false);
    Run run = {.tape = tape, .error = &error};
    Tensor *input = tensor_copy(tape->arena, shape_batched(&graph->node[0].shape, samples), x);
    quantized_freeze(net);
    quant_fake(net, true);
    quant_observe(net, false);
    quant_simulate(net);
    tape->exact = true; /* the products as they are written, as other runtimes have them */
    graph_forward(graph, &run, input, simulated);
    quant_exact(net);
    graph_forward(graph, &run, input, exact);
    assert_int_equal(error.code, 0);
    int differ = 0;
    for (int i = 0; i < graph->nodes; i++)
        for (size_t k = 0; k < exact[i]->count; k++)
            differ += simulated[i]->data[k] != exact[i]->data[k];
    tape_free(tape);
    return differ;
}

/* Softmax is a table of whole numbers: floats are near, not the same (N7). */
static int differing_in_nets(bool portable) {
    enum { SAMPLES = 8 };
    int differ = 0, nets = 0;
    for (int i = 0; i < 120; i++) {
        Rng rng = rng_of(100 + i);
        char text[RANDOM_NET_TEXT];
        random_net(&rng, text);
        QuantConfig config = random_config(&rng);
        config.portable = portable;
        if (strstr(text, "softmax")) continue;
        Graph *graph = quantized_graph(text);
        QuantNet *net = quantized_with(graph, &config);
        Arena *arena = arena_new();
        size_t count = shape_count(&graph->node[0].shape);
        float *x = arena_alloc(arena, SAMPLES * count * sizeof *x);
        for (size_t k = 0; k < SAMPLES * count; k++) x[k] = rng_normal(&rng);
        calibrate_on(net, SAMPLES, x);
        int here = differing_values(net, SAMPLES, x);
        if (portable && here) fail_msg("net %d: %d values differ\n%s", i, here, text);
        differ += here;
        nets++;
        arena_free(arena);
        quantized_free(net);
    }
    assert_true(nets > 40);
    return differ;
}

static void float32_gives_the_codes_of_random_nets(void **state) {
    (void)state;
    assert_int_equal(differing_in_nets(true), 0);
    assert_true(differing_in_nets(false) > 0);
}

/* --- the program --- */

/* Fine-tuning moves ranges and weights, or learns scales; its file is aligned as the calibrated one
 * is, and so is one whose ranges are chosen anew. */
static void a_model_stays_portable(void **state) {
    (void)state;
    must("train --model residual.net --data data --epochs 1 -o r.st -q");
    must("calibrate r.st --data data --portable -o p.st -q");
    refused(2, "--portable: p.st is calibrated", "calibrate p.st --portable -o again.st");
    must("calibrate p.st --method minmax -o again.st -q");
    must("finetune p.st --data data --epochs 2 -o q.st -q");
    must("finetune p.st --data data --epochs 2 --learn-ranges lsq -o l.st -q");
    must("freeze l.st -o f.st -q");
    static const char *const files[] = {"p.st", "again.st", "q.st", "l.st", "f.st"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        Error error = {0};
        Model *model = model_load(files[i], &error);
        if (!model) fail_msg("%s", error.message);
        assert_true(assert_net_aligned(model->quant) >= 2); /* the sum and the mean */
        model_free(model);
        must("verify %s --data data", files[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_scales_keep_sums_off_the_middle),
        cmocka_unit_test(ratios_out_of_reach_are_left_alone),
        cmocka_unit_test(sums_and_products_of_values),
        cmocka_unit_test(means_of_values),
        cmocka_unit_test(scales_of_a_net),
        cmocka_unit_test(float32_gives_the_codes_of_random_nets),
        cmocka_unit_test_setup_teardown(a_model_stays_portable, program_stages, program_teardown),
    };
    return cmocka_run_group_tests_name("portable", tests, NULL, NULL);
}
