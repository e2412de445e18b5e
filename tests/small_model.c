#include "tests/small_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const char small_net[] = "x = input shape=2x6x6\n"
                         "conv1 = conv2d x out=4 kernel=3\n"
                         "bn1 = batchnorm conv1\n"
                         "relu1 = relu bn1\n"
                         "conv2 = conv2d relu1 out=4 kernel=3 padding=1 bias=false\n"
                         "add1 = add conv2 relu1\n"
                         "pool1 = avgpool add1 kernel=2\n"
                         "flat = flatten pool1\n"
                         "fc = linear flat out=3\n";

static void fill_pixels(uint64_t seed, uint8_t *pixels, size_t count) {
    Rng rng = rng_stream(seed, RNG_TEST, 0);
    for (size_t i = 0; i < count; i++) pixels[i] = (uint8_t)rng_next(&rng);
}

/* The images of `seed` as the net sees them; owned by the tape. */
static Tensor *images(const Model *model, uint64_t seed, Tape *tape) {
    uint8_t pixels[SMALL_BATCH * SMALL_PIXELS];
    fill_pixels(seed, pixels, sizeof pixels);
    Tensor *x = tape_tensor(tape, shape_batched(&model->graph->node[0].shape, SMALL_BATCH));
    assert_int_equal(x->count, sizeof pixels);
    for (size_t i = 0; i < x->count; i++) {
        size_t c = i / 36 % 2;
        x->data[i] = normalize_byte(pixels[i], model->pixels.mean[c], model->pixels.std[c]);
    }
    return x;
}

static void forward(const Model *model, bool training, uint64_t seed, float *logits) {
    Tape *tape = tape_new(false);
    Error error = {0};
    Run run = {.tape = tape, .training = training, .error = &error};
    Tensor *y = graph_forward(model->graph, &run, images(model, seed, tape), NULL);
    assert_int_equal(error.code, ERROR_NONE);
    if (logits) memcpy(logits, y->data, sizeof *y->data * y->count);
    tape_free(tape);
}

Model *text_model(const char *text) {
    Error error = {0};
    Graph *graph = graph_parse(text, strlen(text), "net", &error);
    Model *model = graph ? model_new(graph, &error) : NULL;
    if (!model) fail_msg("%s", error.message);
    graph_init(graph, 1);
    return model;
}

Model *small_model(Stage stage, const QuantConfig *config) {
    Error error = {0};
    QuantConfig standard = quant_config_default();
    Model *model = model_new(graph_parse(small_net, strlen(small_net), "small", &error), &error);
    assert_non_null(model);
    for (int c = 0; c < 2; c++) {
        model->pixels.mean[c] = 0.3f + 0.1f * (float)c; /* no short decimals in float32 */
        model->pixels.std[c] = 0.7f / (float)(c + 1);
    }
    model->training = json_pack("{s:s, s:i, s:f}", "kind", "train", "step", 7, "loss_sum", 0.1);
    graph_init(model->graph, 1);
    for (uint64_t seed = 10; seed < 13; seed++) forward(model, true, seed, NULL);
    if (stage == STAGE_FLOAT) return model;
    if (!model_quantize(model, config ? config : &standard, &error)) fail_msg("%s", error.message);
    quant_observe(model->quant, true);
    for (uint64_t seed = 20; seed < 23; seed++) forward(model, false, seed, NULL);
    quant_fake(model->quant, true);
    if (stage != STAGE_CALIBRATED) { /* fine-tuning moves ranges and statistics */
        forward(model, true, 30, NULL);
        model->stage = STAGE_QAT;
    }
    quant_observe(model->quant, false);
    if (stage == STAGE_FROZEN && !model_freeze(model, &error)) fail_msg("%s", error.message);
    return model;
}

void small_forward(const Model *model, float logits[SMALL_BATCH * SMALL_OUTPUTS]) {
    assert_true(model->stage != STAGE_FROZEN);
    forward(model, false, 40, logits);
}

void small_run(Model *model, float logits[SMALL_BATCH * SMALL_OUTPUTS]) {
    uint8_t pixels[SMALL_BATCH * SMALL_PIXELS];
    Error error = {0};
    Program *program = model_program(model, &error);
    if (!program) fail_msg("%s", error.message);
    fill_pixels(40, pixels, sizeof pixels);
    void *scratch = aligned_alloc(64, program_scratch(program, SMALL_BATCH) / 64 * 64 + 64);
    assert_non_null(scratch);
    program_run(program, SMALL_BATCH, pixels, logits, scratch, NULL, NULL);
    free(scratch);
    program_free(program);
}

void small_save(const Model *model, const char *path) {
    Error error = {0};
    if (!model_save(model, path, 0, NULL, &error)) fail_msg("%s", error.message);
}

Model *small_load(const char *path) {
    Error error = {0};
    Model *model = model_load(path, &error);
    if (!model) fail_msg("%s", error.message);
    return model;
}
