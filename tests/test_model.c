/* A model's life: what a file keeps of it in each stage, the way from stage to stage, freezing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "autograd/file.h"
#include "tests/reference.h"
#include "tests/scratch.h"
#include "tests/small_model.h"
#include "train/recipe.h"

enum { LOGITS = SMALL_BATCH * SMALL_OUTPUTS };

static void assert_same_file(const char *one, const char *other) {
    Arena *arena = arena_new();
    unsigned char *a, *b;
    size_t a_size, b_size;
    assert_true(file_read(arena, scratch_path(one), 1 << 20, &a, &a_size, NULL));
    assert_true(file_read(arena, scratch_path(other), 1 << 20, &b, &b_size, NULL));
    assert_int_equal(a_size, b_size);
    assert_memory_equal(a, b, a_size);
    arena_free(arena);
}

static void assert_same_logits(const float *a, const float *b) {
    assert_true(floats_finite(a, LOGITS));
    assert_true(memcmp(a, a + SMALL_OUTPUTS, sizeof(float[SMALL_OUTPUTS])) != 0); /* two images */
    assert_memory_equal(a, b, sizeof(float[LOGITS]));
}

/* --- files --- */

static void test_round_trip(void **state) {
    (void)state;
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        Model *model = small_model((Stage)stage, NULL);
        small_save(model, scratch_path("a"));
        Model *loaded = small_load(scratch_path("a"));
        small_save(loaded, scratch_path("b"));
        assert_same_file("a", "b");

        assert_int_equal(loaded->stage, stage);
        assert_string_equal(loaded->graph->name, "small");
        assert_memory_equal(&loaded->pixels, &model->pixels, sizeof model->pixels);
        if (stage == STAGE_FROZEN) /* how it was trained is of no use to integers */
            assert_null(loaded->training);
        else
            assert_true(json_equal(loaded->training, model->training));
        float before[LOGITS], after[LOGITS];
        if (stage != STAGE_FROZEN) {
            small_forward(model, before);
            small_forward(loaded, after);
            assert_same_logits(before, after);
        }
        if (stage != STAGE_FLOAT) {
            small_run(model, before);
            small_run(loaded, after);
            assert_same_logits(before, after);
            small_save(loaded, scratch_path("b")); /* running changes nothing */
            assert_same_file("a", "b");
        }
        model_free(loaded);
        model_free(model);
    }
}

/* Every setting of the quantization is kept. */
static void test_configurations(void **state) {
    (void)state;
    for (int bits = BITS_LEAST; bits <= BITS_MOST; bits++) {
        QuantConfig config = quant_config_default();
        config.weight.bits = bits;
        config.activation.bits = BITS_MOST + BITS_LEAST - bits;
        config.edge_bits = bits;
        config.weight.per_channel = bits % 2;
        config.activation.is_signed = config.activation.symmetric = bits > 4;
        config.method = method_list[bits % 2];
        config.ste = (Ste)(bits % 3);
        Model *model = small_model(STAGE_FROZEN, &config);
        small_save(model, scratch_path("a"));
        Model *loaded = small_load(scratch_path("a"));
        json_t *want = quant_config_to_json(&config);
        json_t *kept = quant_config_to_json(&loaded->quant->config);
        assert_true(json_equal(kept, want));
        json_decref(kept);
        json_decref(want);
        float before[LOGITS], after[LOGITS];
        small_run(model, before);
        small_run(loaded, after);
        assert_memory_equal(before, after, sizeof before);
        model_free(loaded);
        model_free(model);
    }
}

static void test_arrays(void **state) {
    (void)state;
    float momentum[6] = {1, -2, 3, 1e-40f, 5, 6}, read[6] = {0};
    ModelArray kept = {"optimizer.fc.weight", SHAPE(2, 3), momentum};
    ModelArray array = {"optimizer.fc.weight", SHAPE(2, 3), read};
    Error error = {0};
    Model *model = small_model(STAGE_QAT, NULL);
    assert_false(model_fetch(model, &array, &error)); /* it was never in a file */
    assert_error(&error, ERROR_INPUT, "optimizer.fc.weight is missing");
    assert_true(model_save(model, scratch_path("a"), 1, &kept, NULL));
    model_free(model);
    model = small_load(scratch_path("a"));
    assert_true(model_fetch(model, &array, NULL));
    assert_memory_equal(read, momentum, sizeof read);

    error = (Error){0};
    assert_false(model_fetch(model, &(ModelArray){array.name, SHAPE(3, 2), read}, &error));
    assert_error(&error, ERROR_INPUT, "optimizer.fc.weight is missing or of another size");
    error = (Error){0};
    assert_false(model_fetch(model, &(ModelArray){"optimizer.fc.bias", SHAPE(3), read}, &error));
    assert_error(&error, ERROR_INPUT, "optimizer.fc.bias");
    momentum[4] = NAN;
    assert_true(model_save(model, scratch_path("b"), 1, &kept, NULL));
    model_free(model);
    model = small_load(scratch_path("b"));
    error = (Error){0};
    assert_false(model_fetch(model, &array, &error));
    assert_error(&error, ERROR_INPUT, "optimizer.fc.weight holds NaN");
    model_free(model);
}

static void test_unwritable(void **state) {
    (void)state;
    Error error = {0};
    Model *model = small_model(STAGE_FLOAT, NULL);
    assert_false(model_save(model, scratch_path("none/a"), 0, NULL, &error));
    assert_error(&error, ERROR_IO, "/none/a");
    model_free(model);
    error = (Error){0};
    assert_null(model_load(scratch_path("none/a"), &error));
    assert_error(&error, ERROR_IO, "/none/a");
}

/* --- stages --- */

static void test_expect(void **state) {
    (void)state;
    static const char *const names[] = {"float", "calibrated", "qat", "frozen"};
    static const char *const engines[] = {"float", "fake-quant", "fake-quant", "integer"};
    for (int stage = 0; stage < STAGE_COUNT; stage++) {
        Model *model = small_model((Stage)stage, NULL);
        assert_string_equal(stage_name((Stage)stage), names[stage]);
        assert_string_equal(stage_engine((Stage)stage), engines[stage]);
        for (unsigned wanted = 0; wanted < 1u << STAGE_COUNT; wanted++) {
            Error error = {0};
            bool ok = model_expect(model, "F.safetensors", wanted, "calibrate it first", &error);
            assert_int_equal(ok, wanted >> stage & 1);
            if (ok) continue;
            char told[64];
            snprintf(told, sizeof told,
                     "F.safetensors: the model is in stage %s; calibrate it first", names[stage]);
            assert_error(&error, ERROR_INPUT, told);
        }
        model_free(model);
    }
}

static Model *model_of(const char *net, Error *error) {
    Graph *graph = graph_parse(net, strlen(net), "net", error);
    assert_non_null(graph);
    return model_new(graph, error);
}

static void test_refused_transitions(void **state) {
    (void)state;
    Error error = {0};
    QuantConfig config = quant_config_default();
    assert_null(model_of("x = input shape=5x2x2\nr = relu x\n", &error));
    assert_error(&error, ERROR_INPUT, "net: an input of 5 channels, at most 4");

    error = (Error){0}; /* what integers cannot do keeps its stage, and its forward */
    Model *model = model_of("x = input shape=1x2x2\nb = batchnorm x\n", &error);
    config.weight.is_signed = false;
    assert_false(model_quantize(model, &config, &error));
    assert_error(&error, ERROR_INPUT, "weights have both signs");
    config.weight.is_signed = true;
    assert_int_equal(model->stage, STAGE_FLOAT);
    assert_null(model->quant);
    for (int i = 0; i < model->graph->nodes; i++)
        assert_true(model->graph->node[i].forward == model->graph->node[i].layer->forward);
    model_free(model);

    /* no images were seen: no ranges, before and after a file */
    model = small_model(STAGE_FLOAT, NULL);
    assert_true(model_quantize(model, &config, NULL));
    for (int pass = 0; pass < 2; pass++) {
        error = (Error){0};
        assert_false(model_freeze(model, &error));
        assert_error(&error, ERROR_INPUT, "x: its range is not known: calibrate first");
        error = (Error){0};
        assert_null(model_program(model, &error));
        assert_error(&error, ERROR_INPUT, "calibrate first");
        assert_int_equal(model->stage, STAGE_CALIBRATED);
        if (pass) break;
        small_save(model, scratch_path("a"));
        model_free(model);
        model = small_load(scratch_path("a"));
    }
    model_free(model);

    model = small_model(STAGE_QAT, NULL); /* a value that no integer stands for */
    node_tensor(graph_find(model->graph, "conv2"), "weight")->data[7] = NAN;
    error = (Error){0};
    assert_false(model_freeze(model, &error));
    assert_error(&error, ERROR_INPUT, "conv2: a weight is NaN");
    assert_int_equal(model->stage, STAGE_QAT);
    model_free(model);
}

/* --- freezing --- */

static void test_freeze(void **state) {
    (void)state;
    for (Stage stage = STAGE_CALIBRATED; stage <= STAGE_QAT; stage++) {
        Model *model = small_model(stage, NULL);
        small_save(model, scratch_path("source"));
        float before[LOGITS], after[LOGITS];
        small_run(model, before);

        /* freezing the integers alone leaves the model as it is, and may be done again */
        assert_true(quant_freeze(model->quant, NULL) && quant_freeze(model->quant, NULL));
        small_save(model, scratch_path("again"));
        assert_same_file("source", "again");

        assert_true(model_freeze(model, NULL));
        assert_int_equal(model->stage, STAGE_FROZEN);
        small_save(model, scratch_path("frozen"));
        assert_true(model_freeze(model, NULL));
        small_save(model, scratch_path("twice"));
        assert_same_file("frozen", "twice");
        small_run(model, after);
        assert_same_logits(before, after);
        model_free(model);

        /* by way of files: the source stays, its integers are the same */
        model = small_load(scratch_path("source"));
        assert_true(model_freeze(model, NULL));
        small_save(model, scratch_path("by-file"));
        assert_same_file("frozen", "by-file");
        assert_same_file("source", "again");
        model_free(model);
        model = small_load(scratch_path("frozen"));
        assert_true(model_freeze(model, NULL));
        small_save(model, scratch_path("twice"));
        assert_same_file("frozen", "twice");
        model_free(model);
    }
}

/* The float weights are not in a frozen file: only what integers compute with. */
static void test_frozen_contents(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Model *model = small_model(STAGE_FROZEN, NULL);
    small_save(model, scratch_path("frozen"));
    model_free(model);
    const SafeFile *file = safetensors_read(arena, scratch_path("frozen"), NULL);
    assert_non_null(file);
    /* three weighted nodes of three arrays; scale and zero point of x conv1 conv2 add1 pool1 fc */
    assert_int_equal(file->count, 3 * 3 + 6 * 2);
    for (int i = 0; i < file->count; i++) {
        const SafeTensor *t = &file->tensor[i];
        size_t length = strlen(t->name);
        bool scale = length > 6 && strcmp(t->name + length - 6, ".scale") == 0;
        assert_int_equal(t->dtype == DTYPE_F32, scale);
    }
    assert_int_equal(safetensors_find(file, "conv1.weight")->dtype, DTYPE_I8);
    assert_int_equal(safetensors_find(file, "conv2.bias")->dtype, DTYPE_I32);
    assert_null(safetensors_find(file, "bn1.running_mean"));
    arena_free(arena);
}

/* Numbers of a run that no run can have. */
static void test_training_numbers(void **state) {
    (void)state;
    static const struct {
        const char *option, *name;
        double value;
    } wrong[] = {{NULL, "step", -1},       {NULL, "seen", -1},        {NULL, "correct", -1},
                 {NULL, "data_crc", -1},   {NULL, "step", 0x1p54},    {"options", "batch", 0},
                 {"options", "batch", -1}, {"options", "warmup", -1}, {"options", "limit", -1},
                 {"options", "seed", -1},  {"options", "lr", -0.5},   {"options", "epochs", -0.5}};
    Settings settings = {.optimizer = "sgd",
                         .schedule = "cosine",
                         .epochs = 2,
                         .batch = 4,
                         .lr = 0.1,
                         .step_size = 1};
    Position position = {.step = 5};
    uint32_t crc;
    for (size_t i = 0; i <= sizeof wrong / sizeof *wrong; i++) {
        json_t *run = recipe_to_json("train", &settings, &position, 9, NULL);
        if (i > 0) { /* the first stays right */
            bool whole = wrong[i - 1].value == rint(wrong[i - 1].value);
            json_t *number = whole ? json_integer((json_int_t)wrong[i - 1].value)
                                   : json_real(wrong[i - 1].value);
            json_t *of = wrong[i - 1].option ? json_object_get(run, wrong[i - 1].option) : run;
            assert_non_null(json_object_get(of, wrong[i - 1].name));
            json_object_set_new(of, wrong[i - 1].name, number);
        }
        Settings resumed = {0};
        Error error = {0};
        bool ok = recipe_resume(run, "train", "F.safetensors", &resumed, &position, &crc, &error);
        assert_int_equal(ok, i == 0);
        if (!ok) assert_error(&error, ERROR_INPUT, "F.safetensors: stair.training: '");
        json_decref(run);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),       cmocka_unit_test(test_configurations),
        cmocka_unit_test(test_arrays),           cmocka_unit_test(test_unwritable),
        cmocka_unit_test(test_expect),           cmocka_unit_test(test_refused_transitions),
        cmocka_unit_test(test_freeze),           cmocka_unit_test(test_frozen_contents),
        cmocka_unit_test(test_training_numbers),
    };
    int failed = cmocka_run_group_tests(tests, scratch_make, scratch_remove);
    stop_pool(NULL);
    return failed;
}
