/* What single layers become in integers: clamps, gates, concatenations, lone batchnorms, softmax,
 * reshapes and adaptive pools, each against its formula. That the engines agree on nets made of
 * them is the business of test_engines. */
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
#include "quant/rules/integers.h"
#include "tests/quantized.h"
#include "tests/random_net.h"
#include "tests/scratch.h"
#include "tests/small_model.h"

static void freeze(QuantNet *net) {
    Error error = {0};
    if (!quant_freeze(net, &error)) fail_msg("%s", error.message);
}

/* The range of one value. */
static void set_range(const QuantNet *net, const char *name, float lo, float hi) {
    Quantizer *quantizer = quantized_node(net, name)->out;
    quantizer->method = method_find("minmax");
    quantizer->seen.min = lo;
    quantizer->seen.max = hi;
    quantizer->seen.batches = 1;
    quantizer_update(quantizer);
}

/* The output codes, as bytes and in the graph's order, of pixels that are the input's codes: mean
 * 0, std 1 and the input's range 0 .. 1 make pixel p the code p. */
typedef struct Output {
    uint8_t *code;
    size_t wanted;
} Output;

static void keep_output(void *context, const Value *value, int samples, const uint8_t *bytes) {
    const Output *output = context;
    assert_int_equal(samples, 1);
    if (value->bytes != output->wanted) return; /* a value before the last */
    size_t channels = (size_t)value->channels, positions = (size_t)value->positions;
    for (size_t i = 0; i < value->bytes; i++)
        output->code[i % channels * positions + i / channels] = bytes[i];
}

static void run_codes(QuantNet *net, const uint8_t *pixels, uint8_t *code) {
    Error error = {0};
    Normalization identity = {.channels = net->graph->node[0].shape.dim[0]};
    for (int c = 0; c < identity.channels; c++) identity.std[c] = 1;
    freeze(net);
    Program *program = program_build(net, &identity, &error);
    if (!program) fail_msg("%s", error.message);
    size_t wanted = shape_count(&graph_output(net->graph)->shape);
    float *outputs = calloc(wanted, sizeof *outputs);
    void *scratch = aligned_alloc(64, program_scratch(program, 1) / 64 * 64 + 64);
    program_run(program, 1, pixels, outputs, scratch, keep_output, &(Output){code, wanted});
    free(scratch);
    free(outputs);
    program_free(program);
}

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
                set_range(net, "a", -0.3f * most, most);
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
    set_range(net, "x", 0, 1);
    set_range(net, "m", 0, 1);
    run_codes(net, pixels, code);
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
        set_range(net, "x", 0, 1);
        set_range(net, "c", 0, tops[t]);
        run_codes(net, pixels, code);
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

/* --- a lone batchnorm --- */

#define LONE "x = input shape=4x5x5\nb = batchnorm x"

static QuantNet *lone_batchnorm(const QuantConfig *config) {
    static const float gammas[] = {2, -0.7f, 0, 1e-3f}, betas[] = {0.5f, -1, 0.25f, 0};
    Graph *graph = quantized_graph(LONE);
    const Node *node = graph_output(graph);
    memcpy(node_tensor(node, "weight")->data, gammas, sizeof gammas);
    memcpy(node_tensor(node, "bias")->data, betas, sizeof betas);
    for (int c = 0; c < 4; c++) {
        node_tensor(node, "running_mean")->data[c] = 0.3f * (float)c;
        node_tensor(node, "running_var")->data[c] = c == 3 ? 0 : 0.5f + (float)c;
    }
    return quantized_with(graph, config);
}

/* Of a channel's grid its one weight is the end, whatever the bits; a dead channel is its bias. */
static void a_batchnorm_has_one_weight_a_channel(void **state) {
    (void)state;
    for (int bits = 2; bits <= 8; bits++) {
        QuantConfig config = quant_config_default();
        config.weight.bits = bits;
        QuantNet *net = lone_batchnorm(&config);
        quantized_calibrate(net);
        freeze(net);
        const WeightedIntegers *w = quantized_node(net, "b")->integers;
        int end = (1 << (bits - 1)) - 1;
        assert_true(w->outputs == 4 && w->depth == 1);
        assert_true(w->weight[0] == end && w->weight[1] == -end && w->weight[2] == 0 &&
                    w->weight[3] == end);
        for (int c = 0; c < 4; c++) assert_true(isfinite(w->grid.scale[c]) && w->grid.scale[c] > 0);
        quantized_free(net);
    }
}

/* Before any rounding, simulation is the float layer in evaluation; with it, the codes are those of
 * the float result up to one: half for their own rounding, the rest for the bias's. */
static void a_batchnorm_alone_is_the_float_one(void **state) {
    (void)state;
    QuantConfig config = quant_config_default();
    QuantNet *net = lone_batchnorm(&config);
    const Node *node = graph_output(net->graph);
    Tape *tape = tape_new(false);
    uint8_t pixels[100], code[100];
    Tensor *x = tape_tensor(tape, SHAPE(1, 4, 5, 5)), *value[GRAPH_MAX_NODES];
    for (int i = 0; i < 100; i++) {
        pixels[i] = (uint8_t)(i * 37);
        x->data[i] = (float)pixels[i] / 255;
    }
    Run run = {.tape = tape};
    const Tensor *want = node->layer->forward(&run, node, &x);
    graph_forward(net->graph, &run, x, value);
    float lo = 0, hi = 0;
    for (int i = 0; i < 100; i++) {
        float y = want->data[i];
        /* folded, y = s x + (beta - s mean) is rounded at other places: 2^-24 of terms up to 10 */
        assert_true(fabsf(value[1]->data[i] - y) <= 2e-6f * fmaxf(1, fabsf(y)));
        lo = fminf(lo, y), hi = fmaxf(hi, y);
    }
    set_range(net, "x", 0, 1);
    set_range(net, "b", lo, hi);
    run_codes(net, pixels, code);
    for (int i = 0; i < 100; i++)
        assert_in_range(code[i] - quantize(&quantized_node(net, "b")->out->q, 0, want->data[i]) + 1,
                        0, 2);
    tape_free(tape);
    quantized_free(net);
}

/* --- softmax --- */

/* By hand: S = ln 2 makes powers of two; 1, 1/2, 1/4, 1/4 of a sum of 2. */
static void softmax_shares_by_hand(void **state) {
    (void)state;
    QuantNet *net = quantized_net("x = input shape=4x1x1\ns = softmax x");
    set_range(net, "x", 0, 255 * (float)M_LN2);
    const Quantizer *out = quantized_node(net, "s")->out;
    assert_true(out->q.scale[0] == 1.0f / 256 && out->q.zero_point[0] == 0 && out->ready);
    freeze(net);
    const SoftmaxIntegers *s = quantized_node(net, "s")->integers;
    assert_true(s->bits == 8 && s->power[0] == 1 << 23 && s->power[1] == 1 << 22);
    assert_true(abs(s->power[8] - (1 << 15)) <= 1); /* S is ln 2 but for float's rounding */
    assert_int_equal(s->power[40], 0);
    int64_t whole = INT64_C(2) << 23;
    assert_int_equal(softmax_share(1 << 23, whole, 8), 128);
    assert_int_equal(softmax_share(1 << 21, whole, 8), 32);
    assert_int_equal(softmax_share(1, 3, 8), 85);  /* 85.33 */
    assert_int_equal(softmax_share(2, 3, 8), 171); /* 170.67 */
    assert_int_equal(softmax_share(1, 512, 8), 1); /* 0.5: half up */
    assert_int_equal(softmax_share(5, 5, 8), 256); /* which the grid's end clamps */
    assert_int_equal(softmax_share(0, 5, 8), 0);
    quantized_free(net);
}

/* The codes of the program are within one of the float softmax: half a code is rounding, powers are
 * known to 2^-24. */
static void softmax_is_near_the_float_one(void **state) {
    (void)state;
    QuantNet *net =
        quantized_net("x = input shape=1x10x9\nr = reshape x shape=10x3x3\ns = softmax r");
    Rng rng = rng_stream(5, RNG_TEST, 0);
    uint8_t pixels[90], code[90];
    for (int i = 0; i < 90; i++) pixels[i] = (uint8_t)rng_below(&rng, 256);
    set_range(net, "x", 0, 1);
    run_codes(net, pixels, code);
    for (int p = 0; p < 9; p++) {
        double sum = 0;
        for (int c = 0; c < 10; c++) sum += exp(pixels[9 * c + p] / 255.0);
        for (int c = 0; c < 10; c++) {
            double share = 256 * exp(pixels[9 * c + p] / 255.0) / sum;
            assert_true(fabs(code[9 * c + p] - share) < 0.501);
        }
    }
    quantized_free(net);
}

static void a_softmax_keeps_its_grid(void **state) {
    (void)state;
    for (int bits = 2; bits <= 8; bits++) {
        QuantConfig config = quant_config_default();
        config.edge_bits = bits;
        config.activation.is_signed = bits & 1;
        QuantNet *net =
            quantized_with(quantized_graph("x = input shape=6\ns = softmax x"), &config);
        Quantizer *out = quantized_node(net, "s")->out;
        quantized_calibrate(net);
        set_range(net, "s", -3, 17);
        quant_track(net);
        quantized_calibrate(net);
        assert_true(out->q.scale[0] == ldexpf(1, -bits) && out->q.zero_point[0] == out->q.qmin);
        freeze(net);
        out->q.scale[0] *= 2; /* as a file could say */
        Error error = {0};
        assert_false(quant_freeze(net, &error));
        assert_error(&error, ERROR_INPUT, "s: the grid of a softmax");
        quantized_free(net);
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
        set_range(net, "x", 0, 1);
        set_range(net, "b", 0, 1);
        run_codes(net, pixels, code);
        for (int i = 0; i < 24; i++) {
            float x = dequantize(&quantized_node(net, "x")->out->q, 0, pixels[i]);
            float y = tanh_pointwise.value(x, 0);
            assert_int_equal(code[i], quantize(&quantized_node(net, "b")->out->q, 0, y));
        }
        quantized_free(net);
    }
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
        cmocka_unit_test(a_batchnorm_has_one_weight_a_channel),
        cmocka_unit_test(a_batchnorm_alone_is_the_float_one),
        cmocka_unit_test(softmax_shares_by_hand),
        cmocka_unit_test(softmax_is_near_the_float_one),
        cmocka_unit_test(a_softmax_keeps_its_grid),
        cmocka_unit_test(reshape_keeps_the_order_of_values),
        cmocka_unit_test(adaptive_pools_divide_evenly),
        cmocka_unit_test(files_keep_all_of_it),
        cmocka_unit_test(random_nets_have_every_layer),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
