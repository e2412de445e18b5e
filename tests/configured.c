#include "tests/configured.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/quantized.h"

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

enum { PIXELS = 2 * 8 * 8 };

static uint8_t pixels[CONFIGURED_IMAGES * PIXELS];

Graph *configured_graph(uint64_t seed) {
    Graph *graph = quantized_graph(net_text);
    graph_init(graph, seed);
    Rng rng = rng_stream(seed, RNG_TEST, 1);
    Node *b = graph_find(graph, "b1");
    for (size_t i = 0; i < 5; i++) {
        node_tensor(b, "running_mean")->data[i] = rng_uniform(&rng) - 0.5f;
        node_tensor(b, "running_var")->data[i] = 0.1f + rng_uniform(&rng);
        node_tensor(b, "weight")->data[i] = rng_uniform(&rng) * 2 - 0.7f;
        node_tensor(b, "bias")->data[i] = rng_uniform(&rng) - 0.5f;
    }
    for (int i = 0; i < CONFIGURED_IMAGES * PIXELS; i++) pixels[i] = (uint8_t)rng_next(&rng);
    return graph;
}

QuantConfig config_of(const char *text) {
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
    Tensor *x = tape_tensor(tape, shape_batched(&model->graph->node[0].shape, CONFIGURED_IMAGES));
    for (size_t i = 0; i < x->count; i++) x->data[i] = normalize_byte(pixels[i], 0, 1);
    return x;
}

Tensor *configured_forward(const Model *model, Tape *tape, Tensor *value[]) {
    Error error = {0};
    Run run = {.tape = tape, .error = &error};
    Tensor *y = graph_forward(model->graph, &run, images(tape, model), value);
    if (error.code) fail_msg("%s", error.message);
    return y;
}

bool configured_calibrate(Model *model, Error *error) {
    Tape *tape = tape_new(false);
    quant_collect(model->quant);
    quant_observe(model->quant, true);
    configured_forward(model, tape, NULL);
    quant_observe(model->quant, false);
    quant_fake(model->quant, true);
    tape_free(tape);
    return quant_select(model->quant, model->quant->config.method, model->quant->config.percentile,
                        error);
}

Model *configured(const char *config_text, uint64_t seed) {
    QuantConfig config = config_of(config_text);
    Error error = {0};
    Model *model = model_new(configured_graph(seed), &error);
    if (!model_quantize(model, &config, &error) || !configured_calibrate(model, &error))
        fail_msg("%s: %s", config_text, error.message);
    return model;
}

const QNode *qnode(const Model *model, const char *name) {
    return quantized_node(model->quant, name);
}

void configured_engines_agree(Model *model, const char *what) {
    Error error = {0};
    Program *program = model_program(model, &error);
    if (!program) fail_msg("%s: %s", what, error.message);
    Tape *tape = tape_new(false);
    int64_t codes = assert_engines_agree(what, model->quant, program, CONFIGURED_IMAGES,
                                         images(tape, model)->data, pixels);
    assert_true(codes > CONFIGURED_IMAGES * PIXELS);
    tape_free(tape);
    program_free(program);
}
