/* Configurations: every way to be wrong, what each word means to a net, mixed nets, and affine
 * weights in both engines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/ops.h"
#include "quant/compare.h"
#include "quant/model.h"
#include "quant/rules/integers.h"
#include "tests/scratch.h"

enum { IMAGES = 6, PIXELS = 2 * 8 * 8 };

static const char net_text[] = "x = input shape=2x8x8\n"
                               "c1 = conv2d x out=5 kernel=3 padding=1\n"
                               "b1 = batchnorm c1\n"
                               "r1 = relu b1\n"
                               "c2 = conv2d r1 out=6 kernel=3 padding=1 bias=false\n"
                               "c3 = conv2d r1 out=6 kernel=1\n"
                               "s = add c2 c3\n"
                               "r2 = relu s\n"
                               "p = maxpool r2 kernel=2\n"
                               "fl = flatten p\n"
                               "fc = linear fl out=4\n";

static uint8_t pixels[IMAGES * PIXELS];

/* The net with random weights, biases and statistics. */
static Graph *random_net(uint64_t seed) {
    Error error = {0};
    Graph *graph = graph_parse(net_text, strlen(net_text), "test", &error);
    if (!graph) fail_msg("%s", error.message);
    graph_init(graph, seed);
    Rng rng = rng_stream(seed, RNG_TEST, 1);
    Node *b = graph_find(graph, "b1");
    for (size_t i = 0; i < 5; i++) {
        node_tensor(b, "running_mean")->data[i] = rng_uniform(&rng) - 0.5f;
        node_tensor(b, "running_var")->data[i] = 0.1f + rng_uniform(&rng);
        node_tensor(b, "weight")->data[i] = rng_uniform(&rng) * 2 - 0.7f;
        node_tensor(b, "bias")->data[i] = rng_uniform(&rng) - 0.5f;
    }
    for (int i = 0; i < IMAGES * PIXELS; i++) pixels[i] = (uint8_t)rng_next(&rng);
    return graph;
}

static QuantConfig config_of(const char *text) {
    json_t *json = json_loads(text, 0, NULL);
    QuantConfig config;
    Error error = {0};
    if (!json || !quant_config_from_json(json, &config, &error))
        fail_msg("%s: %s", text, error.message);
    json_decref(json);
    return config;
}

static Tensor *images(Tape *tape, const Model *model) {
    tape_reset(tape);
    Tensor *x = tape_tensor(tape, shape_batched(&model->graph->node[0].shape, IMAGES));
    for (size_t i = 0; i < x->count; i++) x->data[i] = normalize_byte(pixels[i], 0, 1);
    return x;
}

static Tensor *forward(const Model *model, Tape *tape, Tensor *value[]) {
    Error error = {0};
    Run run = {.tape = tape, .error = &error};
    Tensor *y = graph_forward(model->graph, &run, images(tape, model), value);
    if (error.code) fail_msg("%s", error.message);
    return y;
}

static bool calibrate(Model *model, Error *error) {
    Tape *tape = tape_new(false);
    quant_collect(model->quant);
    quant_observe(model->quant, true);
    forward(model, tape, NULL);
    quant_observe(model->quant, false);
    quant_fake(model->quant, true);
    tape_free(tape);
    return quant_select(model->quant, model->quant->config.method, model->quant->config.percentile,
                        error);
}

static Model *calibrated(const char *config_text, uint64_t seed) {
    QuantConfig config = config_of(config_text);
    Error error = {0};
    Model *model = model_new(random_net(seed), &error);
    if (!model_quantize(model, &config, &error) || !calibrate(model, &error))
        fail_msg("%s: %s", config_text, error.message);
    return model;
}

static const QNode *qnode(const Model *model, const char *name) {
    return &model->quant->node[graph_find(model->graph, name)->index];
}

/* --- errors --- */

static void refuse(const char *text, const char *fragment) {
    json_t *json = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    QuantConfig config = {.edge_bits = -1};
    Error error = {0};
    if (quant_config_from_json(json, &config, &error)) fail_msg("%s was taken", text);
    assert_error(&error, ERROR_INPUT, fragment);
    assert_int_equal(config.edge_bits, -1); /* as it was */
    json_decref(json);
}

static void test_refused_json(void **state) {
    (void)state;
    refuse("[]", "quantization is no object");
    refuse("{\"presets\": 1}", "no member 'presets'; did you mean preset?");
    refuse("{\"preset\": \"qnpack\"}", "no preset 'qnpack'; did you mean qnnpack?");
    refuse("{\"preset\": 3}", "quantization.preset: no preset");
    refuse("{\"activation\": {\"bits\": 17}}", "activation: it.bits: expected 2 to 16 bits");
    refuse("{\"activation\": {\"bits\": true}}", "expected 2 to 16 bits");
    refuse("{\"activation\": {\"sign\": true}}", "no member 'sign'; did you mean signed?");
    refuse("{\"activation\": {\"signed\": 1}}", "expected true or false");
    refuse("{\"activation\": null}", "activation: it is no object");
    refuse("{\"activation\": {\"per_channel\": true}}", "activations have one scale");
    refuse("{\"activation\": {\"amax\": 2}}", "amax is the range of symmetric codes");
    refuse("{\"activation\": {\"amax\": -2}}", "amax: expected a number above 0");
    refuse("{\"activation\": {\"method\": \"max\"}}", "no method 'max'");
    refuse("{\"activation\": {\"descriptor\": {\"axis\": 0}}}", "activations have one scale");
    refuse("{\"activation\": \"QUANT\"}", "no predefined descriptor 'QUANT'");
    refuse("{\"activation\": {\"descriptor\": {\"num_bits\": 99}}}",
           "descriptor.num_bits: expected");
    refuse("{\"activation\": {\"descriptor\": {\"learn_amax\": true}}}", "learn_amax");
    refuse("{\"weight\": {\"signed\": false}}", "weights have both signs");
    refuse("{\"weight\": {\"method\": \"moving-average\"}}", "no average");
    refuse("{\"edge_bits\": 1}", "edge_bits: expected");
    refuse("{\"method\": \"minmix\"}", "no method 'minmix'");
    refuse("{\"percentile\": 101}", "percentile: expected");
    refuse("{\"ste\": \"code \"}", "no straight-through estimator");
    refuse("{\"layers\": {\"conv\": {}}}", "no layer is a 'conv'");
    refuse("{\"layers\": {\"liner\": {}}}", "no layer is a 'liner'; did you mean linear?");
    refuse("{\"layers\": []}", "expected an object of kinds");
    refuse("{\"layers\": {\"linear\": {\"bits\": 4}}}", "linear: it has no member 'bits'");
    refuse("{\"layers\": {\"linear\": 4}}", "linear: it is no object");
    refuse("{\"overrides\": 4}", "expected an object of nodes");
    refuse("{\"overrides\": {\"fc\": {\"weight\": {\"bits\": \"4\"}}}}",
           "fc: it.weight: it.bits: expected");
}

static void refuse_net(const char *text, const char *fragment) {
    QuantConfig config = config_of(text);
    Error error = {0};
    Graph *graph = random_net(1);
    assert_null(quant_prepare(graph, &config, &error));
    assert_error(&error, ERROR_INPUT, fragment);
    assert_null(graph->node[1].quant); /* the net is as before */
    graph_free(graph);
}

static void test_refused_by_the_net(void **state) {
    (void)state;
    refuse_net("{\"overrides\": {\"c11\": null}}", "has no node 'c11'; did you mean c1?");
    refuse_net("{\"overrides\": {\"something\": null}}", "has no node 'something'");
    refuse_net("{\"overrides\": {\"r1\": null}}", "r1: it is a part of c1");
    refuse_net("{\"overrides\": {\"p\": {}}}", "p: maxpool layers pass on the codes");
    refuse_net("{\"overrides\": {\"s\": {\"weight\": {\"bits\": 4}}}}",
               "s: add layers have no weights");
    refuse_net("{\"overrides\": {\"c1\": {\"weight\": {\"signed\": false}}}}",
               "c1: weight: weights have both signs");
    refuse_net("{\"overrides\": {\"c1\": {\"activation\": {\"amax\": 1}}}}",
               "c1: activation: amax");
    refuse_net("{\"layers\": {\"relu\": null}}", "r1: it is a part of c1");
    refuse_net("{\"layers\": {\"flatten\": {}}}", "fl: flatten layers pass on");
    refuse_net("{\"layers\": {\"batchnorm\": {}}}", "b1: it is a part of c1");
}

static void test_files(void **state) {
    (void)state;
    static const struct {
        const char *text, *fragment;
    } bad[] = {
        {"{\"edge_bits\": 8", "q.json:1:"},
        {"{\"edge_bits\": 8, \"edge_bits\": 8}", "duplicate"},
        {"{\n \"edge\": 8}", "q.json: quantization has no member 'edge'"},
        {"", "q.json:"},
    };
    QuantConfig config;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Bytes bytes = {0};
        bytes_text(&bytes, bad[i].text);
        scratch_write("q.json", &bytes);
        Error error = {0};
        assert_false(quant_config_read(scratch_path("q.json"), &config, &error));
        assert_error(&error, ERROR_INPUT, bad[i].fragment);
    }
    Error error = {0};
    assert_false(quant_config_read(scratch_path("none.json"), &config, &error));
    assert_int_equal(error.code, ERROR_IO);
}

/* --- meaning --- */

static void test_presets(void **state) {
    (void)state;
    QuantConfig plain = quant_config_default(), config;
    for (int i = 0; preset_name(i); i++) assert_true(quant_config_preset(preset_name(i), &config));
    assert_false(quant_config_preset("", &config));
    config = config_of("{\"preset\": \"default\"}");
    assert_memory_equal(&config.activation, &plain.activation, sizeof plain.activation);
    config = config_of("{\"preset\": \"qnnpack\"}");
    assert_true(config.activation.bits == 8 && !config.activation.is_signed &&
                !config.activation.symmetric);
    assert_true(config.weight.is_signed && config.weight.symmetric && !config.weight.per_channel);
    assert_string_equal(config.method->name, "moving-average");
    config = config_of(
        "{\"weight\": {\"bits\": 5}, \"preset\": \"fbgemm\"}"); /* members go over the preset */
    assert_true(config.activation.bits == 7 && config.edge_bits == 7);
    assert_true(config.weight.per_channel && config.weight.symmetric && config.weight.bits == 5);
    config = config_of("{\"preset\": \"seed-per-tensor-affine\"}");
    assert_true(!config.weight.is_signed && !config.weight.symmetric && !config.weight.per_channel);
    assert_string_equal(config.method->name, "minmax");
    assert_int_equal(config.ste, STE_NONE);
}

static void test_nearest_word_wins(void **state) {
    (void)state;
    Model *model = calibrated(
        "{\"activation\": {\"bits\": 5}, \"weight\": {\"bits\": 6},"
        " \"layers\": {\"conv2d\": {\"weight\": {\"bits\": 3, \"per_channel\": false}},"
        "              \"linear\": {\"activation\": {\"bits\": 7}}},"
        " \"overrides\": {\"c2\": {\"weight\": {\"bits\": 4}, \"activation\": {\"bits\": 2}},"
        "                 \"c3\": {\"activation\": \"QUANT_DESC_8BIT_PER_TENSOR\"}}}",
        1);
    assert_int_equal(qnode(model, "x")->out->spec.bits, 8); /* the edge keeps its bits */
    assert_int_equal(qnode(model, "c1")->out->spec.bits, 5);
    assert_int_equal(qnode(model, "c1")->weight.bits, 3);
    assert_false(qnode(model, "c1")->weight.per_channel);
    assert_int_equal(qnode(model, "c2")->weight.bits, 4);
    assert_false(
        qnode(model, "c2")->weight.per_channel); /* what the node does not say, its kind does */
    assert_int_equal(qnode(model, "c2")->out->spec.bits, 2);
    assert_true(qnode(model, "c3")->out->spec.symmetric && qnode(model, "c3")->out->spec.is_signed);
    assert_int_equal(qnode(model, "c3")->out->q.qmin, -128);
    assert_int_equal(qnode(model, "fc")->weight.bits, 6);
    assert_int_equal(qnode(model, "fc")->out->spec.bits, 7); /* an edge with a word of its own */
    model_free(model);
}

static void test_ranges(void **state) {
    (void)state;
    const char *config =
        "{\"method\": \"minmax\", \"overrides\": {"
        "\"c1\": {\"activation\": {\"symmetric\": true}, \"weight\": {\"amax\": 0.5}},"
        "\"c2\": {\"activation\": {\"symmetric\": true, \"signed\": true, \"amax\": 1.5}},"
        "\"c3\": {\"activation\": {\"symmetric\": true, \"signed\": true, \"scale_amax\": 0.5},"
        "         \"weight\": {\"scale_amax\": 2, \"full_range\": true}},"
        "\"fc\": {\"activation\": {\"method\": \"mse\"}}}}";
    Model *model = calibrated(config, 2);
    const Quantizer *c1 = qnode(model, "c1")->out, *c2 = qnode(model, "c2")->out,
                    *c3 = qnode(model, "c3")->out;
    assert_true(c1->q.zero_point[0] == 0 &&
                c1->q.qmax == 255); /* behind a relu: unsigned without a zero point */
    assert_true(c1->q.scale[0] == (float)((double)c1->seen.max / 255));
    assert_true(c2->q.scale[0] == (float)(1.5 / 127));
    float amax = fmaxf(-c3->seen.min, c3->seen.max);
    assert_true(c3->q.scale[0] == (float)((double)(amax * 0.5f) / 127));
    assert_string_equal(qnode(model, "fc")->out->method->name, "mse");
    assert_string_equal(c1->method->name, "minmax");

    Error error = {0};
    assert_true(quant_freeze(model->quant, &error));
    const WeightedIntegers *w1 = qnode(model, "c1")->integers, *w3 = qnode(model, "c3")->integers;
    for (int c = 0; c < 5; c++) assert_true(w1->grid.scale[c] == (float)(0.5 / 127));
    const Tensor *w = node_tensor(graph_find(model->graph, "c3"), "weight");
    for (int c = 0; c < 6; c++) {
        float most = 0;
        for (int k = 0; k < 5; k++) most = fmaxf(most, fabsf(w->data[c * 5 + k]));
        assert_true(w3->grid.scale[c] == (float)((double)(most * 2) / 127));
    }
    assert_int_equal(w3->grid.qmin, -128);

    /* while fine-tuning: a fixed range stays, scale_amax is not applied twice */
    float before = c3->q.scale[0];
    quant_track(model->quant);
    Tape *tape = tape_new(false);
    quant_simulate(model->quant);
    forward(model, tape, NULL);
    assert_true(c2->q.scale[0] == (float)(1.5 / 127));
    assert_true(fabsf(c3->q.scale[0] / before - 1) <
                0.02f); /* a hundredth of the way to the batch's */
    tape_free(tape);
    model_free(model);
}

static void test_unsigned_needs_no_negatives(void **state) {
    (void)state;
    QuantConfig config = config_of(
        "{\"overrides\": {\"c2\": {\"activation\": \"QUANT_DESC_UNSIGNED_8BIT_PER_TENSOR\"}}}");
    Error error = {0};
    Model *model = model_new(random_net(1), &error);
    assert_true(model_quantize(model, &config, &error));
    assert_false(calibrate(model, &error));
    assert_error(&error, ERROR_INPUT,
                 "c2: it is to have unsigned codes without a zero point, but has values down to -");
    model_free(model);
}

/* --- both engines --- */

static void assert_engines_equal(Model *model, const char *what) {
    Error error = {0};
    Program *program = model_program(model, &error);
    if (!program) fail_msg("%s: %s", what, error.message);
    Arena *arena = arena_new();
    Tape *tape = tape_new(false);
    void *scratch = arena_alloc(arena, program_scratch(program, IMAGES));
    const Tensor *x = images(tape, model);
    float *copy = arena_alloc(arena, x->count * sizeof *copy);
    memcpy(copy, x->data, x->count * sizeof *copy);
    Comparison comparison;
    quant_exact(model->quant);
    compare_start(&comparison, model->quant, program);
    assert_true(compare_images(&comparison, tape, IMAGES, copy, pixels, scratch, &error));
    ValueComparison total = compare_total(&comparison);
    if (total.mismatched || comparison.argmax_differs)
        fail_msg("%s: %lld codes differ, by up to %d", what, (long long)total.mismatched,
                 total.max_difference);
    assert_true(total.codes > IMAGES * PIXELS);
    tape_free(tape);
    arena_free(arena);
    program_free(program);
}

/* Weights of every kind of grid and every width: the two engines agree, before and after the file.
 */
static void test_affine_weights(void **state) {
    (void)state;
    for (int bits = 2; bits <= 8; bits++)
        for (int kind = 0; kind < 8; kind++) {
            char text[400];
            snprintf(text, sizeof text,
                     "{\"activation\": {\"bits\": %d}, \"weight\": {\"bits\": %d, \"signed\": %s, "
                     "\"symmetric\": false,"
                     " \"per_channel\": %s, \"scale_amax\": %s}}",
                     bits, bits, kind & 1 ? "true" : "false", kind & 2 ? "true" : "false",
                     kind & 4 ? "0.6" : "null");
            Model *model = calibrated(text, (uint64_t)(bits * 8 + kind));
            /* one-sided weights: zero points at an end of the codes */
            Tensor *w = node_tensor(graph_find(model->graph, "c2"), "weight");
            for (size_t i = 0; i < w->count; i++) w->data[i] = fabsf(w->data[i]);
            assert_engines_equal(model, text);
            const WeightedIntegers *one = qnode(model, "c2")->integers;
            assert_int_equal(one->grid.zero_point[0], one->grid.qmin);
            assert_true(one->grid.qmin == -(1 << (bits - 1)));

            Error error = {0};
            assert_true(model_freeze(model, &error));
            if (!model_save(model, scratch_path("m"), 0, NULL, &error))
                fail_msg("%s", error.message);
            Model *loaded = model_load(scratch_path("m"), &error);
            if (!loaded) fail_msg("%s", error.message);
            const WeightedIntegers *other = qnode(loaded, "c2")->integers;
            assert_memory_equal(one->weight, other->weight,
                                (size_t)one->outputs * (size_t)one->depth);
            assert_memory_equal(one->grid.zero_point, other->grid.zero_point, sizeof(int32_t));
            assert_engines_equal(loaded, text);
            model_free(loaded);
            model_free(model);
        }
}

/* Codes of unsigned and signed affine weights stand for the same reals; both are what fake
 * quantization gives. */
static void test_affine_weights_by_hand(void **state) {
    (void)state;
    Model *model = calibrated("{\"weight\": {\"bits\": 8, \"signed\": false, \"symmetric\": false, "
                              "\"per_channel\": false}}",
                              3);
    Tensor *w = node_tensor(graph_find(model->graph, "fc"), "weight");
    for (size_t i = 0; i < w->count; i++) w->data[i] = i % 2 ? 0.5f : 1.55f;
    w->data[0] = -1;
    Error error = {0};
    assert_true(quant_freeze(model->quant, &error));
    const WeightedIntegers *integers = qnode(model, "fc")->integers;
    /* S = 2.55 / 255 = 0.01, unsigned Z = 100: codes 0, 150 and 255, kept as -128, 22 and 127 */
    assert_true(integers->grid.scale[0] == (float)((1.55f + 1.0) / 255));
    assert_int_equal(integers->grid.zero_point[0], 100 - 128);
    assert_int_equal(integers->weight[0], -128);
    assert_int_equal(integers->weight[1], 150 - 128);
    assert_int_equal(integers->weight[2], 127);
    assert_engines_equal(model, "by hand");
    model_free(model);
}

static void test_presets_and_mixed_bits_in_both_engines(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{\"preset\": \"qnnpack\"}",
        "{\"preset\": \"fbgemm\"}",
        "{\"preset\": \"seed-per-tensor-affine\"}",
        "{\"activation\": {\"signed\": true, \"symmetric\": true}, \"weight\": {\"full_range\": "
        "true}}",
        "{\"layers\": {\"conv2d\": {\"weight\": {\"symmetric\": false}}}, \"overrides\": {\"c2\": "
        "{\"weight\":"
        " {\"bits\": 2}}, \"s\": {\"activation\": {\"bits\": 3}}, \"fc\": {\"weight\": {\"bits\": "
        "5}}}}",
        "{\"activation\": {\"descriptor\": {\"scale_amax\": 0.8, \"narrow_range\": true}},"
        " \"weight\": \"QUANT_DESC_8BIT_CONV2D_WEIGHT_PER_CHANNEL\"}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (uint64_t seed = 0; seed < 3; seed++) {
            Model *model = calibrated(texts[i], seed);
            assert_engines_equal(model, texts[i]);
            model_free(model);
        }
}

static void test_zero_point_in_file_is_checked(void **state) {
    (void)state;
    Model *model = calibrated("{\"weight\": {\"bits\": 4, \"symmetric\": false}}", 4);
    Error error = {0};
    assert_true(model_freeze(model, &error));
    WeightedIntegers *w = qnode(model, "fc")->integers;
    w->grid.zero_point[1] = 8; /* 4 bits: -8 .. 7 */
    assert_true(model_save(model, scratch_path("z"), 0, NULL, &error));
    assert_null(model_load(scratch_path("z"), &error));
    assert_error(&error, ERROR_INPUT, "fc.weight: a zero point of 8, with 4 bits");
    model_free(model);
}

/* --- mixed nets --- */

static void test_float_layers(void **state) {
    (void)state;
    Model *model =
        calibrated("{\"weight\": {\"bits\": 3}, \"overrides\": {\"c2\": null, \"fc\": null}}", 5);
    Error error = {0};
    Arena *arena = arena_new();
    assert_string_equal(quant_floats(model->quant, arena), "c2, fc");
    assert_false(qnode(model, "c2")->out->bypassed); /* the quantized sum reads it */
    assert_true(qnode(model, "fc")->out->bypassed);  /* nobody does */

    assert_false(quant_integral(model->quant, &error));
    assert_error(&error, ERROR_INPUT, "c2 stays float");
    assert_null(model_program(model, &(Error){0}));
    assert_false(model_freeze(model, &(Error){0}));
    assert_int_equal(model->stage, STAGE_CALIBRATED);

    error = (Error){0};
    assert_true(quant_freeze(model->quant, &error));
    quant_exact(model->quant);
    Tape *tape = tape_new(false);
    Tensor *value[GRAPH_MAX_NODES];
    const Tensor *y = forward(model, tape, value);
    /* c2: its float convolution of the codes' reals, rounded for the sum */
    const Node *c2 = graph_find(model->graph, "c2"), *fc = graph_find(model->graph, "fc");
    const Tensor *own =
        c2->layer->apply(tape, c2, value[c2->in[0]], node_tensor(c2, "weight"), NULL);
    const Tensor *grid = op_fakequant(tape, (Tensor *)own, &qnode(model, "c2")->out->q, STE_CODE);
    assert_memory_equal(value[c2->index]->data, grid->data, grid->count * sizeof(float));
    /* fc: its float product, not rounded at all */
    own = fc->layer->apply(tape, fc, value[fc->in[0]], node_tensor(fc, "weight"),
                           node_tensor(fc, "bias"));
    assert_memory_equal(y->data, own->data, own->count * sizeof(float));
    tape_free(tape);
    arena_free(arena);
    model_free(model);
}

/* Evaluating a mixed net that is being fine-tuned moves none of its ranges. */
static void test_mixed_evaluation_observes_nothing(void **state) {
    (void)state;
    Model *model =
        calibrated("{\"overrides\": {\"c1\": null, \"c3\": {\"weight\": {\"bits\": 12}}}}", 6);
    Error error = {0};
    quant_track(model->quant);
    assert_true(quant_freeze(model->quant, &error));
    quant_exact(model->quant);
    Observer before = qnode(model, "c1")->out->seen;
    float scale = qnode(model, "c1")->out->q.scale[0];
    Tape *tape = tape_new(false);
    forward(model, tape, NULL);
    assert_memory_equal(&before, &qnode(model, "c1")->out->seen, sizeof before);
    assert_true(scale == qnode(model, "c1")->out->q.scale[0]);
    tape_free(tape);
    model_free(model);
}

/* A float layer trains like one: its weights' gradient is the plain one, though others are rounded.
 */
static void test_float_layers_train(void **state) {
    (void)state;
    Model *model = calibrated("{\"overrides\": {\"fc\": null}}", 7);
    const Node *fc = graph_find(model->graph, "fc");
    Tensor *w = node_tensor(fc, "weight");
    Tape *tape = tape_new(true);
    tensor_grad(model->graph->arena, w);
    memset(w->grad, 0, w->count * sizeof(float));
    Tensor *value[GRAPH_MAX_NODES];
    Tensor *y = forward(model, tape, value);
    static const int labels[IMAGES] = {0, 1, 2, 3, 0, 1};
    tape_backward(tape, op_cross_entropy(tape, y, labels));
    const Tensor *x = value[fc->in[0]];
    for (size_t o = 0; o < 4; o++)
        for (size_t k = 0; k < w->shape.dim[1] + 0u; k++) {
            double sum = 0;
            for (size_t n = 0; n < IMAGES; n++)
                sum +=
                    (double)y->grad[n * 4 + o] * (double)x->data[n * (size_t)w->shape.dim[1] + k];
            assert_true(fabs(sum - (double)w->grad[o * (size_t)w->shape.dim[1] + k]) <
                        1e-5); /* float32 sums of 6 */
        }
    tape_free(tape);
    model_free(model);
}

static void test_more_than_8_bits(void **state) {
    (void)state;
    Model *model = calibrated("{\"overrides\": {\"c1\": {\"weight\": {\"bits\": 16}}, \"fc\": "
                              "{\"activation\": {\"bits\": 12}}}}",
                              8);
    Error error = {0};
    assert_true(qnode(model, "c1")->simulated && qnode(model, "fc")->simulated &&
                !qnode(model, "c2")->simulated);
    assert_false(quant_integral(model->quant, &error));
    assert_error(&error, ERROR_INPUT, "c1 has more than 8 bits");
    error = (Error){0};
    assert_true(quant_freeze(model->quant, &error));
    quant_exact(model->quant);
    Tape *tape = tape_new(false);
    Tensor *value[GRAPH_MAX_NODES];
    const Tensor *y = forward(model, tape, value);
    const QParams *q = &qnode(model, "fc")->out->q;
    assert_int_equal(q->qmax, 4095);
    for (size_t i = 0; i < y->count; i++)
        assert_true(y->data[i] == dequantize(q, 0, quantize(q, 0, y->data[i])));
    tape_free(tape);
    model_free(model);
}

static void test_switch(void **state) {
    (void)state;
    Model *model = calibrated("{}", 9);
    Error error = {0};
    Tape *tape = tape_new(false);
    float reference[IMAGES * 4];
    assert_true(quant_freeze(model->quant, &error));
    quant_exact(model->quant);
    memcpy(reference, forward(model, tape, NULL)->data, sizeof reference);
    assert_true(quant_switch(model->quant, "c1", false, &error));
    assert_true(quant_freeze(model->quant, &error));
    assert_memory_not_equal(reference, forward(model, tape, NULL)->data, sizeof reference);
    assert_true(quant_switch(model->quant, "c1", true, &error));
    assert_true(quant_freeze(model->quant, &error));
    assert_memory_equal(reference, forward(model, tape, NULL)->data, sizeof reference);
    assert_engines_equal(model, "switched back");

    assert_false(quant_switch(model->quant, "c4", false, &error));
    assert_error(&error, ERROR_INPUT, "has no node 'c4'; did you mean c1?");
    error = (Error){0};
    assert_false(quant_switch(model->quant, "b1", false, &error));
    assert_error(&error, ERROR_INPUT, "b1: it is a part of c1");
    error = (Error){0};
    assert_false(quant_switch(model->quant, "p", false, &error));
    assert_error(&error, ERROR_INPUT, "p: maxpool layers pass on");
    tape_free(tape);
    model_free(model);
}

/* --- the checkpoint --- */

static void test_round_trip(void **state) {
    (void)state;
    const char *text =
        "{\"preset\": \"qnnpack\", \"activation\": {\"descriptor\": {\"scale_amax\": 0.7}},"
        " \"layers\": {\"conv2d\": {\"weight\": {\"symmetric\": false}}, \"linear\": null},"
        " \"overrides\": {\"c2\": {\"activation\": {\"method\": \"mse\", \"amax\": 3.3}},"
        "                 \"fc\": {\"weight\": {\"bits\": 9}}, \"s\": null}}";
    Model *model = calibrated(text, 10);
    Error error = {0};
    assert_true(model_save(model, scratch_path("a"), 0, NULL, &error));
    Model *loaded = model_load(scratch_path("a"), &error);
    if (!loaded) fail_msg("%s", error.message);
    json_t *a = quant_config_to_json(&model->quant->config),
           *b = quant_config_to_json(&loaded->quant->config);
    assert_true(json_equal(a, b));
    assert_true(qnode(loaded, "s")->is_float && !qnode(loaded, "fc")->is_float);
    assert_int_equal(qnode(loaded, "fc")->weight.bits, 9);
    assert_string_equal(qnode(loaded, "c2")->out->method->name, "mse");
    assert_true(quant_freeze(model->quant, &error) && quant_freeze(loaded->quant, &error));
    quant_exact(model->quant);
    quant_exact(loaded->quant);
    Tape *tape = tape_new(false), *other = tape_new(false);
    assert_memory_equal(forward(model, tape, NULL)->data, forward(loaded, other, NULL)->data,
                        IMAGES * 4 * sizeof(float));
    Arena *arena = arena_new();
    const char *lines = quant_text(loaded->quant, arena);
    assert_non_null(strstr(lines, "c1           weight     8bit signed affine per-tensor amax="));
    assert_non_null(strstr(lines, "calibrator=fixed quant"));
    assert_non_null(strstr(lines, "scale_amax=0.7"));
    arena_free(arena);
    tape_free(tape);
    tape_free(other);
    json_decref(a);
    json_decref(b);
    model_free(loaded);
    model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_json),
        cmocka_unit_test(test_refused_by_the_net),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_presets),
        cmocka_unit_test(test_nearest_word_wins),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_unsigned_needs_no_negatives),
        cmocka_unit_test(test_affine_weights),
        cmocka_unit_test(test_affine_weights_by_hand),
        cmocka_unit_test(test_presets_and_mixed_bits_in_both_engines),
        cmocka_unit_test(test_zero_point_in_file_is_checked),
        cmocka_unit_test(test_float_layers),
        cmocka_unit_test(test_mixed_evaluation_observes_nothing),
        cmocka_unit_test(test_float_layers_train),
        cmocka_unit_test(test_more_than_8_bits),
        cmocka_unit_test(test_switch),
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
