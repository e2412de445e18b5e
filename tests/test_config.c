/* Configurations: every way to be wrong, what each word means to a net, and what a file keeps of
 * them. What such nets compute: test_grids, test_floats. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "quant/rules/integers.h"
#include "tests/configured.h"
#include "tests/scratch.h"

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
    Graph *graph = configured_graph(1);
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
        scratch_text("q.json", bad[i].text);
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
    Model *model = configured(
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
    Model *model = configured(config, 2);
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
    configured_forward(model, tape, NULL);
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
    Model *model = model_new(configured_graph(1), &error);
    assert_true(model_quantize(model, &config, &error));
    assert_false(configured_calibrate(model, &error));
    assert_error(&error, ERROR_INPUT,
                 "c2: it is to have unsigned codes without a zero point, but has values down to -");
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
    Model *model = configured(text, 10);
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
    assert_memory_equal(configured_forward(model, tape, NULL)->data,
                        configured_forward(loaded, other, NULL)->data,
                        CONFIGURED_IMAGES * CONFIGURED_OUTPUTS * sizeof(float));
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
        cmocka_unit_test(test_round_trip),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
