/* What single layers become in integers: clamps, gates, concatenations, reshapes and adaptive
 * pools, each against its formula. That the engines agree on nets made of them is the business of
 * test_engines. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quant/model.h"
#include "tests/quantized.h"
#include "tests/random_net.h"
#include "tests/scratch.h"
#include "tests/small_model.h"

/* --- clamps --- */

static void relu6_clamps_at_the_code_of_6(void **state) {
    (void)state;
    for (int bits = 2; bits <= 8; bits++)
        for (int kind = 0; kind < 4; kind++)
            for (float most = 1; most < 20; most += 0.7f) {
                QuantConfig config = quant_config_default();
                config.activation.bits = config.edge_bits = bits;
                config.activation.is_signed = kind & 1;
                config.activation.symmetric = kind & 2;
                QuantNet *net = quantized_with(
                    quantized_graph("x = input shape=3\na = linear x out=2\nr = relu6 a"), &config);
                quantized_range(net, "a", -0.3f * most, most);
                const QNode *q = quantized_node(net, "a");
                const QParams *grid = &q->out->q;
                Bounds bounds = rule_bounds(q);
                double six = rint(6 / (double)grid->scale[0]) + grid->zero_point[0];
                assert_int_equal(bounds.lo, grid->zero_point[0] - grid->qmin);
                assert_int_equal(bounds.hi, (int)fmin(six, grid->qmax) - grid->qmin);
                quantized_free(net);
            }
}

static void relu_has_no_upper_bound_and_others_none(void **state) {
    (void)state;
    QuantNet *net = quantized_net("x = input shape=3\na = linear x out=2\nr = relu a\n"
                                  "b = linear r out=4\nt = tanh b");
    quantized_ranges(net, -7, 9);
    Bounds relu = rule_bounds(quantized_node(net, "a")),
           all = rule_bounds(quantized_node(net, "b"));
    assert_int_equal(relu.lo, quantizer_zero(quantized_node(net, "a")->out));
    assert_int_equal(relu.hi, 255);
    assert_true(all.lo == 0 && all.hi == 255);
    quantized_free(net);
}

/* --- gates and branches --- */

static void mul_rounds_the_product_once(void **state) {
    (void)state;
    QuantNet *net = quantized_net("x = input shape=1x16x16\nm = mul x x\nr = relu6 m");
    uint8_t pixels[256], code[256];
    for (int i = 0; i < 256; i++) pixels[i] = (uint8_t)i;
    quantized_range(net, "x", 0, 1);
    quantized_range(net, "m", 0, 1);
    quantized_codes(net, pixels, code);
    double m = (double)quantized_node(net, "x")->out->q.scale[0];
    for (int i = 0; i < 256;
         i++) /* S S / S = S; no product of bytes is half way between two codes */
        assert_int_equal(code[i], (int)floor(i * i * m + 0.5));
    quantized_free(net);
}

/* Where input and output have one grid, all codes pass; where they have not, the real value does.
 */
static void concat_brings_branches_to_one_grid(void **state) {
    (void)state;
    static const float tops[] = {1, 1.7f, 0.45f}; /* no quotient is half way between codes */
    uint8_t pixels[256], code[512];
    for (int i = 0; i < 256; i++) pixels[i] = (uint8_t)i;
    for (int t = 0; t < 3; t++) {
        QuantNet *net =
            quantized_net("x = input shape=1x16x16\nm = maxpool x kernel=1\nc = concat x m");
        quantized_range(net, "x", 0, 1);
        quantized_range(net, "c", 0, tops[t]);
        quantized_codes(net, pixels, code);
        for (int i = 0; i < 512; i++) {
            int p = i % 256;
            assert_int_equal(code[i], (int)fmin(255, floor(p / (double)tops[t] + 0.5)));
            if (t == 0) assert_int_equal(code[i], p);
        }
        quantized_free(net);
    }
}

static void shapes_that_do_not_fit_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *reason;
    } wrong[] = {
        {"x = input shape=2x4x6\np = maxpool x kernel=2\nm = mul x p", "the inputs differ"},
        {"x = input shape=2x4x6\np = maxpool x kernel=2\nc = concat x p",
         "differ in more than channels"},
        {"x = input shape=2x4x6\nf = flatten x\nc = concat x f", "differ in more than channels"},
        {"x = input shape=2x4x6\nr = reshape x shape=7x7", "not of one size"},
        {"x = input shape=2x4x6\nt = transpose x order=2x1", "does not name each dimension"},
        {"x = input shape=2x4x6\nt = transpose x order=2x1x1", "does not name each dimension"},
        {"x = input shape=2x4x6\nt = transpose x order=2x1x4", "does not name each dimension"},
        {"x = input shape=2x4\nt = transpose x order=2x1x3", "does not name each dimension"},
        {"x = input shape=2x4x6\ns = slice x axis=4 end=1", "no places 0 to 1 along axis 4"},
        {"x = input shape=2x4x6\ns = slice x end=3", "no places 0 to 3 along axis 1"},
        {"x = input shape=2x4x6\ns = slice x axis=2 begin=2 end=2", "no places 2 to 2"},
        {"x = input shape=2x4x6\np = adaptiveavgpool x out=4x5", "out=5 must divide the input's 6"},
        {"x = input shape=2x4x6\np = adaptiveavgpool x out=8", "out=8 must divide the input's 4"},
        {"x = input shape=8\np = adaptiveavgpool x out=2", "spatial dimensions"},
        {"x = input shape=2x2x2x2x2\nb = batchnorm x", "at most 3 spatial dimensions"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        Error error = {0};
        assert_null(graph_parse(wrong[i].text, strlen(wrong[i].text), "net", &error));
        assert_error(&error, ERROR_INPUT, wrong[i].reason);
    }
}

/* --- the same values otherwise arranged --- */

static void reshape_keeps_the_order_of_values(void **state) {
    (void)state;
    static const char *const shapes[] = {"3x2x4", "24",     "4x6",    "2x3x4",
                                         "1x24",  "24x1x1", "6x2x2x1"};
    uint8_t pixels[24], code[24];
    for (int i = 0; i < 24; i++) pixels[i] = (uint8_t)(10 * i);
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        char text[256];
        snprintf(text, sizeof text, "x = input shape=3x2x4\nr = reshape x shape=%s\nb = tanh r",
                 shapes[k]);
        QuantNet *net = quantized_net(text);
        quantized_range(net, "x", 0, 1);
        quantized_range(net, "b", 0, 1);
        quantized_codes(net, pixels, code);
        for (int i = 0; i < 24; i++) {
            float x = dequantize(&quantized_node(net, "x")->out->q, 0, pixels[i]);
            float y = tanh_pointwise.value(x, 0);
            assert_int_equal(code[i], quantize(&quantized_node(net, "b")->out->q, 0, y));
        }
        quantized_free(net);
    }
}

/* Of 3x2x4 codes the columns as channels, and every other column of the lines' second. */
static void transpose_and_slice_move_values(void **state) {
    (void)state;
    uint8_t pixels[24], code[24];
    for (int i = 0; i < 24; i++) pixels[i] = (uint8_t)(10 * i);
    QuantNet *net = quantized_net("x = input shape=3x2x4\nt = transpose x order=3x1x2");
    quantized_range(net, "x", 0, 1);
    quantized_codes(net, pixels, code);
    for (int w = 0, i = 0; w < 4; w++)
        for (int c = 0; c < 3; c++)
            for (int h = 0; h < 2; h++, i++) assert_int_equal(code[i], 10 * (8 * c + 4 * h + w));
    quantized_free(net);
    net = quantized_net("x = input shape=3x2x4\nh = slice x axis=2 begin=1 end=2\n"
                        "s = slice h axis=3 begin=1 end=4 step=2");
    quantized_range(net, "x", 0, 1);
    quantized_codes(net, pixels, code);
    for (int c = 0, i = 0; c < 3; c++)
        for (int w = 1; w < 4; w += 2, i++) assert_int_equal(code[i], 10 * (8 * c + 4 + w));
    quantized_free(net);
}

/* PyTorch's definition: the mean from floor(i in / out) to ceil((i + 1) in / out). */
static void adaptive_pools_divide_evenly(void **state) {
    (void)state;
    static const int outs[][2] = {{1, 1}, {3, 2}, {6, 4}, {2, 4}, {6, 1}};
    for (size_t k = 0; k < sizeof outs / sizeof *outs; k++) {
        char text[128];
        int height = outs[k][0], width = outs[k][1];
        snprintf(text, sizeof text, "x = input shape=2x6x4\na = adaptiveavgpool x out=%dx%d",
                 height, width);
        Graph *graph = quantized_graph(text);
        Tape *tape = tape_new(false);
        Tensor *x = tape_tensor(tape, SHAPE(1, 2, 6, 4));
        for (int i = 0; i < 48; i++) x->data[i] = (float)(i * i % 31);
        const Tensor *y = graph_forward(graph, &(Run){.tape = tape}, x, NULL);
        assert_true(shape_equal(&y->shape, &SHAPE(1, 2, height, width)));
        for (int c = 0, o = 0; c < 2; c++)
            for (int h = 0; h < height; h++)
                for (int w = 0; w < width; w++, o++) {
                    float sum = 0;
                    int places = 0;
                    for (int i = h * 6 / height; i < ((h + 1) * 6 + height - 1) / height; i++)
                        for (int j = w * 4 / width; j < ((w + 1) * 4 + width - 1) / width;
                             j++, places++)
                            sum += x->data[(c * 6 + i) * 4 + j];
                    assert_true(y->data[o] == sum / (float)places);
                }
        tape_free(tape);
        graph_free(graph);
    }
}

/* --- files --- */

static const char all_net[] =
    "x = input shape=2x6x6\nb1 = batchnorm x\nr1 = relu6 b1\nc1 = conv2d r1 out=3 kernel=1\n"
    "s1 = sigmoid c1\ng1 = conv2d r1 out=3 kernel=1\nh1 = hardswish g1\nm1 = mul s1 h1\n"
    "j1 = concat m1 r1 c1\nb2 = batchnorm j1\nl1 = leaky_relu b2 slope=0.2\n"
    "a1 = adaptiveavgpool l1 out=3x2\nt1 = tanh a1\nv1 = reshape t1 shape=6x8\nf1 = flatten v1\n"
    "fc = linear f1 out=3\nsm = softmax fc\n";

static Model *all_model(void) {
    Error error = {0};
    QuantConfig config = quant_config_default();
    Model *model = model_new(quantized_graph(all_net), &error);
    assert_non_null(model);
    for (int i = 0; i < model->graph->nodes; i++)
        if (strcmp(model->graph->node[i].layer->name, "batchnorm") == 0)
            for (size_t c = 0; c < node_tensor(&model->graph->node[i], "weight")->count; c++)
                node_tensor(&model->graph->node[i], "running_mean")->data[c] = 0.1f * (float)c;
    if (!model_quantize(model, &config, &error)) fail_msg("%s", error.message);
    quantized_calibrate(model->quant);
    quant_fake(model->quant, true);
    return model;
}

/* A calibrated and a frozen file give the program of the model that they were made of. */
static void files_keep_all_of_it(void **state) {
    (void)state;
    float want[SMALL_BATCH * SMALL_OUTPUTS], got[SMALL_BATCH * SMALL_OUTPUTS];
    Error error = {0};
    Model *model = all_model();
    small_run(model, want);
    assert_true(memcmp(want, want + SMALL_OUTPUTS, sizeof want / 2) != 0);
    for (int frozen = 0; frozen < 2; frozen++) {
        if (frozen) assert_true(model_freeze(model, &error));
        small_save(model, scratch_path("all"));
        Model *loaded = small_load(scratch_path("all"));
        small_run(loaded, got);
        assert_memory_equal(want, got, sizeof want);
        model_free(loaded);
    }
    model_free(model);
}

/* --- the nets of test_engines --- */

/* Those for one number of dimensions, the convolutions, have tests of their own, and so have those
 * that stay float. */
static void random_nets_have_every_layer(void **state) {
    (void)state;
    enum { NETS = 400 };
    for (int i = 0; layer_list[i]; i++) {
        if (layer_list[i]->spatial || !layer_list[i]->rule) continue;
        char word[64], text[RANDOM_NET_TEXT];
        int nets = 0;
        snprintf(word, sizeof word, "= %s ", layer_list[i]->name);
        for (uint64_t number = 0; number < NETS; number++) {
            Rng rng = rng_stream(number, RNG_TEST, 0);
            random_net(&rng, text);
            nets += strstr(text, word) != NULL;
        }
        if (nets < 10) fail_msg("%d of %d nets have a %s", nets, NETS, layer_list[i]->name);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relu6_clamps_at_the_code_of_6),
        cmocka_unit_test(relu_has_no_upper_bound_and_others_none),
        cmocka_unit_test(mul_rounds_the_product_once),
        cmocka_unit_test(concat_brings_branches_to_one_grid),
        cmocka_unit_test(shapes_that_do_not_fit_are_refused),
        cmocka_unit_test(reshape_keeps_the_order_of_values),
        cmocka_unit_test(transpose_and_slice_move_values),
        cmocka_unit_test(adaptive_pools_divide_evenly),
        cmocka_unit_test(files_keep_all_of_it),
        cmocka_unit_test(random_nets_have_every_layer),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
