/* A batch normalisation that folds into nothing, in integers. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "quant/rules/integers.h"
#include "tests/quantized.h"

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
        quantized_freeze(net);
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
    quantized_range(net, "x", 0, 1);
    quantized_range(net, "b", lo, hi);
    quantized_codes(net, pixels, code);
    for (int i = 0; i < 100; i++)
        assert_in_range(code[i] - quantize(&quantized_node(net, "b")->out->q, 0, want->data[i]) + 1,
                        0, 2);
    tape_free(tape);
    quantized_free(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batchnorm_has_one_weight_a_channel),
        cmocka_unit_test(a_batchnorm_alone_is_the_float_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
