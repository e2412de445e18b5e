/* Grids of weights that an ONNX file gives: scales and zero points are kept as they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "quant/given.h"
#include "quant/onnx/write.h"
#include "quant/rules/integers.h"
#include "tests/onnx_build.h"
#include "tests/scratch.h"
#include "tests/small_model.h"

/* Scales and zero points that were read are kept by a checkpoint, whatever the weights say. */
static void given_grids_are_kept(bool affine) {
    QuantConfig config = quant_config_default();
    config.weight.symmetric = !affine;
    Model *model = small_model(STAGE_FROZEN, &config);
    Arena *arena = arena_new();
    Error error = {0};
    File file = onnx_pack(onnx_model(model, "test", arena, &error), arena);
    Model *back = onnx_imported(&file);
    Tensor *scale = node_tensor(graph_find(back->graph, "conv1"), "weight_fake_quant.scale");
    int32_t *zero = ((QNode *)graph_find(back->graph, "conv1")->quant)->weight_zero;
    assert_non_null(scale);
    assert_true((zero != NULL) == affine);
    if (affine) zero[0] += 3;
    for (size_t c = 0; c < scale->count; c++) scale->data[c] *= 1.5f; /* N9 would not choose it */
    small_save(back, scratch_path("given"));
    Model *loaded = small_load(scratch_path("given"));
    float want[SMALL_BATCH * SMALL_OUTPUTS], have[SMALL_BATCH * SMALL_OUTPUTS];
    small_run(back, want);
    small_run(loaded, have);
    assert_memory_equal(have, want, sizeof want);
    scale = node_tensor(graph_find(loaded->graph, "conv1"), "weight_fake_quant.scale");
    assert_false(scale->needs_grad);
    quant_forget_given(loaded->quant);
    assert_null(node_tensor(graph_find(loaded->graph, "conv1"), "weight_fake_quant.scale"));
    assert_null(((QNode *)graph_find(loaded->graph, "conv1")->quant)->weight_zero);
    model_free(model);
    model_free(back);
    model_free(loaded);
    arena_free(file.arena);
}

static void given_scales_are_kept(void **state) {
    (void)state;
    given_grids_are_kept(false);
}
static void given_zero_points_are_kept(void **state) {
    (void)state;
    given_grids_are_kept(true);
}

/* Weights of bytes, as ONNX Runtime's quantizer has them, and a factor below 0 behind them. */
static void weights_of_bytes_have_a_zero_point(void **state) {
    (void)state;
    static const uint8_t codes[] = {0, 255, 130, 7};
    for (int turned = 0; turned < 2; turned++) {
        Build *b = onnx_build();
        onnx_tensor(&b->graph, "w", ONNX__TENSOR_PROTO__DATA_TYPE__UINT8, 1, &SHAPE(2, 2, 1, 1),
                    codes);
        add_float(b, "s", 0.5f);
        add_byte(b, "z", ONNX__TENSOR_PROTO__DATA_TYPE__UINT8, 130);
        add_float(b, "minus", -2);
        build_node(b, "QuantizeLinear", "x s z", "xq");
        build_node(b, "DequantizeLinear", "xq s z", "xd");
        build_node(b, "DequantizeLinear", "w s z", "wd");
        build_node(b, "Conv", "xd wd", "conv");
        build_node(b, "Mul", turned ? "conv minus" : "conv s", "y");
        build_node(b, "QuantizeLinear", "y s z", "yq");
        build_node(b, "DequantizeLinear", "yq s z", "out");
        onnx_output(&b->graph, "out", &SHAPE(1));
        File file = onnx_pack(&b->model, b->graph.arena);
        Model *model = onnx_imported(&file);
        QNode *q = &model->quant->node[1];
        assert_float_equal(q->weight_scale->data[0], turned ? 1 : 0.25f, 0);
        assert_int_equal(q->weight_zero[0], turned ? -3 : 2);
        Error error = {0};
        assert_true(quant_freeze(model->quant, &error));
        const int8_t want[2][4] = {{-128, 127, 2, -121}, {127, -128, -3, 120}};
        assert_memory_equal(((const WeightedIntegers *)q->integers)->weight, want[turned], 4);
        model_free(model);
        arena_free(b->graph.arena);
    }
}

static void add_numbers(Build *b, const char *name, const float numbers[2]) {
    onnx_tensor(&b->graph, name, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, sizeof *numbers, &SHAPE(2),
                numbers);
}

/* A batchnorm of weights in codes around a zero point (or 0), a step for each channel (or one),
 * that reads `in`, and the grid of its value. */
static void add_lone(Build *b, const char *in, const char *name, bool affine, bool single) {
    static const int8_t codes[] = {100, -28}, zeros[] = {50, -4}, none[] = {0, 0};
    static const float steps[] = {0.0625f, 0.125f};
    Arena *arena = b->graph.arena;
    const char *w = arena_text(arena, "%s_w", name), *s = arena_text(arena, "%s_s", name);
    const char *z = arena_text(arena, "%s_z", name), *real = arena_text(arena, "%s_real", name);
    Shape per = single ? (Shape){0} : SHAPE(2);
    onnx_tensor(&b->graph, w, ONNX__TENSOR_PROTO__DATA_TYPE__INT8, 1, &SHAPE(2), codes);
    onnx_tensor(&b->graph, s, ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, sizeof *steps, &per, steps);
    onnx_tensor(&b->graph, z, ONNX__TENSOR_PROTO__DATA_TYPE__INT8, 1, &per, affine ? zeros : none);
    Onnx__NodeProto *weights =
        build_node(b, "DequantizeLinear", arena_text(arena, "%s %s %s", w, s, z), real);
    set_int(b, weights, "axis", 0);
    build_node(b, "BatchNormalization", arena_text(arena, "%s %s zeros zeros ones", in, real),
               name);
    build_node(b, "QuantizeLinear", arena_text(arena, "%s s z", name),
               arena_text(arena, "%s_q", name));
    build_node(b, "DequantizeLinear", arena_text(arena, "%s_q s z", name),
               arena_text(arena, "%s_d", name));
}

static void has_lone(const Model *model, const char *name, bool affine, bool single) {
    static const int8_t codes[] = {100, -28};
    const QNode *q = graph_find(model->graph, name)->quant;
    const WeightedIntegers *w = q->integers;
    for (int o = 0; o < 2; o++) {
        int c = w->grid.channels == 1 ? 0 : o;
        assert_int_equal(w->weight[o], codes[o]);
        assert_float_equal(w->grid.scale[c], single || o == 0 ? 0.0625f : 0.125f, 0);
        assert_int_equal(w->grid.zero_point[c], !affine ? 0 : single || o == 0 ? 50 : -4);
    }
}

/* Configurations have one word for all batchnorms that stand alone: each keeps its own grid, and a
 * convolution beside them its, which has no zero points. */
static void lone_batchnorms_keep_their_grids(void **state) {
    (void)state;
    for (int i = 0; i < 16; i++) {
        bool affine[] = {i & 1, i & 2}, single[] = {i & 4, i & 8};
        Build *b = onnx_build();
        add_float(b, "s", 0.02f);
        add_byte(b, "z", ONNX__TENSOR_PROTO__DATA_TYPE__UINT8, 100);
        static const float zeros[] = {0, 0}, ones[] = {1, 1};
        add_numbers(b, "zeros", zeros);
        add_numbers(b, "ones", ones);
        static const int8_t codes[] = {1, 2, -3, 127};
        onnx_tensor(&b->graph, "w", ONNX__TENSOR_PROTO__DATA_TYPE__INT8, 1, &SHAPE(2, 2, 1, 1),
                    codes);
        build_node(b, "QuantizeLinear", "x s z", "xq");
        build_node(b, "DequantizeLinear", "xq s z", "xd");
        add_lone(b, "xd", "one", affine[0], single[0]);
        INTS(b, build_node(b, "MaxPool", "one_d", "pool"), "kernel_shape", 2, 2);
        add_lone(b, "pool", "two", affine[1], single[1]);
        build_node(b, "DequantizeLinear", "w s", "wd");
        build_node(b, "Conv", "two_d wd", "conv");
        build_node(b, "QuantizeLinear", "conv s z", "yq");
        build_node(b, "DequantizeLinear", "yq s z", "y");
        onnx_output(&b->graph, "y", &SHAPE(1));
        File file = onnx_pack(&b->model, b->graph.arena);
        Model *model = onnx_imported(&file);
        Error error = {0};
        if (!quant_freeze(model->quant, &error)) fail_msg("%s", error.message);
        has_lone(model, "one", affine[0], single[0]);
        has_lone(model, "two", affine[1], single[1]);
        const QNode *conv = graph_find(model->graph, "conv")->quant;
        assert_true(conv->weight.symmetric);
        assert_false(conv->weight.per_channel);
        assert_memory_equal(((const WeightedIntegers *)conv->integers)->weight, codes, 4);
        model_free(model);
        arena_free(b->graph.arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(given_scales_are_kept),
        cmocka_unit_test(given_zero_points_are_kept),
        cmocka_unit_test(weights_of_bytes_have_a_zero_point),
        cmocka_unit_test(lone_batchnorms_keep_their_grids),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
