/* The file of a dynamically quantized net: what it holds, that nothing is lost, and each thing that
 * can be wrong with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "autograd/file.h"
#include "tests/changed_file.h"
#include "tests/reference.h"
#include "tests/scratch.h"
#include "tests/small_model.h"

static const char sequence_net[] = "x = input shape=2x6x6\ns = reshape x shape=6x12\n"
                                   "g = gru s hidden=24 layers=2\n"
                                   "l = lstm g hidden=16 bidirectional=true output=last\n"
                                   "fc = linear l out=3\n";

static void freeze(Model *model, bool per_channel) {
    Error error = {0};
    if (!model_freeze_dynamic(model, per_channel, &error)) fail_msg("%s", error.message);
}

static Model *sequence_model(void) {
    Error error = {0};
    Graph *graph = graph_parse(sequence_net, strlen(sequence_net), "sequence", &error);
    assert_non_null(graph);
    graph_init(graph, 3);
    return model_new(graph, &error);
}

/* "small", "tensor" and "sequence": frozen dynamically. */
static int make_files(void **state) {
    if (scratch_make(state)) return -1;
    for (int i = 0; i < 3; i++) {
        Model *model = i < 2 ? small_model(STAGE_FLOAT, NULL) : sequence_model();
        freeze(model, i != 1);
        small_save(model, scratch_path(i == 0 ? "small" : i == 1 ? "tensor" : "sequence"));
        model_free(model);
    }
    return 0;
}

static void run(const Model *model, float y[SMALL_BATCH * SMALL_OUTPUTS]) {
    Tape *tape = tape_new(false);
    Error error = {0};
    Rng rng = rng_stream(1, RNG_TEST, 0);
    Tensor *x = tape_tensor(tape, SHAPE(SMALL_BATCH, 2, 6, 6));
    for (size_t i = 0; i < x->count; i++) x->data[i] = rng_normal(&rng);
    const Tensor *result =
        graph_forward(model->graph, &(Run){.tape = tape, .error = &error}, x, NULL);
    assert_int_equal(error.code, ERROR_NONE);
    memcpy(y, result->data, sizeof *y * SMALL_BATCH * SMALL_OUTPUTS);
    tape_free(tape);
}

static void assert_tensor(const SafeFile *file, const char *name, Dtype dtype, int count) {
    const SafeTensor *t = safetensors_find(file, name);
    if (!t) fail_msg("no %s", name);
    assert_int_equal(t->dtype, dtype);
    assert_int_equal(t->bytes, count * dtype_bits(dtype) / 8);
}

static void files_hold_integers(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Error error = {0};
    const SafeFile *small = safetensors_read(arena, scratch_path("small"), &error);
    assert_string_equal(safetensors_meta(small, "stair.stage"), "frozen");
    assert_string_equal(safetensors_meta(small, "stair.dynamic"), "per-channel");
    assert_null(safetensors_meta(small, "stair.training"));
    assert_tensor(small, "fc.weight", DTYPE_I8, 3 * 16);
    assert_tensor(small, "fc.weight_fake_quant.scale", DTYPE_F32, 3);
    assert_tensor(small, "fc.bias", DTYPE_F32, 3);
    assert_tensor(small, "conv1.weight", DTYPE_F32, 4 * 2 * 9); /* the rest stays float */
    assert_tensor(small, "bn1.running_var", DTYPE_F32, 4);
    assert_tensor(small, "bn1.num_batches_tracked", DTYPE_I64, 1);
    const SafeFile *tensor = safetensors_read(arena, scratch_path("tensor"), &error);
    assert_string_equal(safetensors_meta(tensor, "stair.dynamic"), "per-tensor");
    assert_tensor(tensor, "fc.weight_fake_quant.scale", DTYPE_F32, 1);
    const SafeFile *sequence = safetensors_read(arena, scratch_path("sequence"), &error);
    assert_tensor(sequence, "g.weight_ih_l1", DTYPE_I8, 72 * 24);
    assert_tensor(sequence, "g.weight_ih_l1_fake_quant.scale", DTYPE_F32, 72);
    assert_tensor(sequence, "l.weight_hh_l0_reverse", DTYPE_I8, 64 * 16);
    assert_tensor(sequence, "l.bias_hh_l0_reverse", DTYPE_F32, 64);
    assert_int_equal(sequence->count, 9 * 2 + 8 + 1); /* matrices and scales, biases */
    arena_free(arena);
}

/* The net that is loaded computes the bits of the one that was frozen, and is saved as it was. */
static void nothing_is_lost(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        Model *model = i < 2 ? small_model(STAGE_FLOAT, NULL) : sequence_model();
        float want[SMALL_BATCH * SMALL_OUTPUTS], got[SMALL_BATCH * SMALL_OUTPUTS];
        freeze(model, i != 1);
        run(model, want);
        Model *loaded = small_load(scratch_path(i == 0 ? "small" : i == 1 ? "tensor" : "sequence"));
        assert_int_equal(loaded->stage, STAGE_FROZEN);
        run(loaded, got);
        assert_memory_equal(want, got, sizeof want);
        small_save(model, scratch_path("first"));
        small_save(loaded, scratch_path("again"));
        Arena *arena = arena_new();
        Error error = {0};
        const SafeFile *a = safetensors_read(arena, scratch_path("first"), &error);
        const SafeFile *b = safetensors_read(arena, scratch_path("again"), &error);
        assert_true(a && b && a->count == b->count && a->metas == b->metas);
        for (int k = 0; k < a->count; k++) {
            assert_string_equal(a->tensor[k].name, b->tensor[k].name);
            assert_memory_equal(a->tensor[k].data, b->tensor[k].data, a->tensor[k].bytes);
        }
        for (int k = 0; k < a->metas; k++) assert_string_equal(a->meta[k].value, b->meta[k].value);
        arena_free(arena);
        model_free(model);
        model_free(loaded);
    }
}

static void what_is_wrong_is_told(void **state) {
    (void)state;
    static const float floats[48] = {0};
    Change c;
    change_open(&c, "small");
    change_remove(&c, "fc.weight_fake_quant.scale");
    assert_bad(&c, "fc.weight_fake_quant.scale is missing (F32 3)");
    change_open(&c, "small");
    *change_tensor(&c, "fc.weight") =
        (SafeTensor){"fc.weight", DTYPE_F32, 2, {3, 16}, floats, sizeof floats};
    assert_bad(&c, "fc.weight is F32 3x16, expected I8 3x16");
    change_open(&c, "small");
    change_remove(&c, "conv1.weight");
    assert_bad(&c, "conv1.weight is missing (F32 4x2x3x3)");
    change_open(&c, "small");
    change_number(&c, "fc.weight", 5, -128);
    assert_bad(&c, "fc.weight: element 5 has a value that cannot be there");
    static const double no_scales[] = {0, -1, NAN, INFINITY, 1e-40};
    for (int i = 0; i < 5; i++) {
        change_open(&c, "small");
        change_number(&c, "fc.weight_fake_quant.scale", 2, no_scales[i]);
        assert_bad(&c, "fc.weight_fake_quant.scale: element 2 has a value that cannot be there");
    }
    change_open(&c, "small");
    change_number(&c, "fc.bias", 0, NAN);
    assert_bad(&c, "fc.bias: element 0");
    change_open(&c, "small");
    change_meta(&c, "stair.dynamic", "per-row");
    assert_bad(&c, "stair.dynamic: 'per-row', expected per-channel or per-tensor");
    change_open(&c, "small");
    change_meta(&c, "stair.dynamic", "per-tensor");
    assert_bad(&c, "fc.weight_fake_quant.scale is F32 3, expected F32 1");
    change_open(&c, "small"); /* without the word it would be a net with ranges */
    change_meta(&c, "stair.dynamic", NULL);
    assert_bad(&c, "the metadata lacks stair.quant");
    change_open(&c, "small");
    change_meta(&c, "stair.stage", "float");
    assert_bad(&c, "fc.weight is I8 3x16, expected F32 3x16");
    change_open(&c, "small");
    change_meta(&c, "stair.net", "x = input shape=2x6x6\nc = conv2d x out=4 kernel=3\n");
    assert_bad(&c, "has no layer for dynamic quantization");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_hold_integers),
        cmocka_unit_test(nothing_is_lost),
        cmocka_unit_test(what_is_wrong_is_told),
    };
    return cmocka_run_group_tests(tests, make_files, scratch_remove);
}
