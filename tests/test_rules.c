/* Quantizing a net: the lists fit together, chains are joined, codes are shared, and what integers
 * cannot do is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quant/program.h"
#include "tests/quantized.h"
#include "tests/scratch.h"

#define IMAGE "x = input shape=2x6x6\n"
#define FLAT  "x = input shape=7\n"

/* --- the lists --- */

static bool has_instruction(const Layer *layer) {
    for (int i = 0; instr_list[i]; i++) {
        if (instr_list[i]->rule && strcmp(instr_list[i]->rule, layer->rule) == 0) return true;
        for (int k = 0; instr_list[i]->lowers && instr_list[i]->lowers[k]; k++)
            if (strcmp(instr_list[i]->lowers[k], layer->name) == 0) return true;
    }
    return false;
}

static void lists_fit_together(void **state) {
    (void)state;
    for (int i = 0; layer_list[i]; i++) {
        const Layer *layer = layer_list[i];
        if (!layer->rule) continue; /* float only, by its own word */
        const Rule *rule = rule_find(layer->rule);
        if (!rule) fail_msg("%s names the rule %s, which is none", layer->name, layer->rule);
        if (!has_instruction(layer)) fail_msg("no instruction computes a %s", layer->name);
        assert_true(strcmp(rule->name, "weighted") != 0 || layer->apply);
        assert_true(strcmp(rule->name, "fold") != 0 || layer->apply);
        assert_true(strcmp(rule->name, "mean") != 0 || layer->divisor);
        assert_true(strcmp(rule->name, "pointwise") != 0 || layer->pointwise);
    }
    for (int i = 0; instr_list[i]; i++) { /* and no row for layers that do not exist */
        const InstrKind *kind = instr_list[i];
        assert_true(kind->rule ? rule_find(kind->rule) != NULL : kind->lowers && kind->lowers[0]);
        assert_true(kind->identity || (kind->lower && kind->run));
        for (int k = 0; kind->lowers && kind->lowers[k]; k++)
            assert_non_null(layer_find(kind->lowers[k]));
    }
    for (int i = 0; rule_list[i]; i++) {
        assert_ptr_equal(rule_find(rule_list[i]->name), rule_list[i]);
        assert_true(rule_list[i]->exact || rule_list[i]->check);
        assert_true(!rule_list[i]->blank == !rule_list[i]->arrays);
    }
    assert_null(rule_find(NULL));
    assert_null(rule_find("no such"));
}

/* --- chains --- */

static void chains_are_joined(void **state) {
    (void)state;
    static const struct {
        const char *text, *joined; /* which of a (first), b, c lie in one operation with it */
    } chains[] = {
        {IMAGE "a = conv2d x out=3 kernel=3\nb = batchnorm a\nc = relu b", "bc"},
        {IMAGE "a = conv2d x out=3 kernel=3\nb = batchnorm a", "b"},
        {IMAGE "a = conv2d x out=3 kernel=3\nc = relu a", "c"},
        {IMAGE "a = avgpool x kernel=2\nc = relu a", "c"},
        {IMAGE "a = globalavgpool x\nc = relu a", "c"},
        {IMAGE "m = maxpool x kernel=1\na = add x m\nc = relu a", "c"},
        {FLAT "a = linear x out=3\nc = relu a", "c"},
        {FLAT "a = linear x out=3\nb = batchnorm a", "b"},
        {FLAT "a = linear x out=3\nb = batchnorm a\nc = relu b", "bc"},
        {FLAT "a = linear x out=3\nc = relu a\nd = relu c", "c"},
        /* something else reads what lies between, or something lies between */
        {FLAT "a = linear x out=7\nc = relu a\nd = add a c", ""},
        {FLAT "a = linear x out=7\nc = relu a\nd = relu a\ne = add c d", ""},
        {FLAT "a = linear x out=7\nb = batchnorm a\nc = relu b\nd = add b c", "b"},
        {FLAT "a = linear x out=3\nd = dropout a\nc = relu d", ""},
        {FLAT "a = linear x out=3\nc = relu6 a", "c"},
        {FLAT "a = batchnorm x\nc = relu6 a", "c"},
        {FLAT "a = mul x x\nc = relu a", "c"},
        {FLAT "a = concat x x\nc = relu6 a", "c"},
        {FLAT "a = sigmoid x\nc = relu6 a", "c"},
        {FLAT "a = linear x out=3\nc = leaky_relu a", ""},
        {FLAT "a = linear x out=3\nc = hardswish a", ""},
        {IMAGE "a = maxpool x kernel=2\nc = relu a", ""},
    };
    for (size_t i = 0; i < sizeof chains / sizeof *chains; i++) {
        QuantNet *net = quantized_net(chains[i].text);
        const QNode *a = quantized_node(net, "a");
        for (const char *name = "bc"; *name; name++) {
            const Node *node = graph_find(net->graph, (char[]){*name, 0});
            if (!node) continue;
            bool joined = strchr(chains[i].joined, *name) != NULL;
            if ((net->node[node->index].into == a->node) != joined)
                fail_msg("%s\n%c is %sjoined to a", chains[i].text, *name, joined ? "not " : "");
            assert_ptr_equal(*name == 'b' ? a->batchnorm : a->relu, joined ? node : NULL);
            /* the chain has one range, behind its end */
            if (joined) assert_ptr_equal(net->node[node->index].out, a->out);
        }
        quantized_free(net);
    }
}

/* Reading the input, a relu has nothing to be absorbed by. */
static void relu_of_the_input_stands_alone(void **state) {
    (void)state;
    QuantNet *net = quantized_net("x = input shape=5\nr = relu x\nfc = linear r out=2");
    assert_null(quantized_node(net, "r")->into);
    assert_ptr_not_equal(quantized_node(net, "r")->out, quantized_node(net, "x")->out);
    quantized_free(net);
}

static void lone_batchnorms_stand_for_themselves(void **state) {
    (void)state;
    static const char *const texts[] = {
        IMAGE "bn = batchnorm x",
        IMAGE "a = conv2d x out=2 kernel=1\nbn = batchnorm a\nc = add a bn",
        IMAGE "a = conv2d x out=2 kernel=1\nr = relu a\nbn = batchnorm r",
        IMAGE "a = conv2d x out=2 kernel=1\nb = batchnorm a\nbn = batchnorm b",
        IMAGE "a = conv2d x out=2 kernel=1\nd = dropout a\nbn = batchnorm d",
        IMAGE "a = maxpool x kernel=2\nbn = batchnorm a\nf = flatten bn",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        QuantNet *net = quantized_net(texts[i]);
        const QNode *bn = quantized_node(net, "bn");
        assert_null(bn->into);
        assert_ptr_equal(bn->batchnorm, bn->node);
        assert_string_equal(bn->out->name, "bn"); /* a range of its own */
        quantized_free(net);
    }
}

/* --- values --- */

static void layers_that_share_codes_share_the_quantizer(void **state) {
    (void)state;
    QuantNet *net =
        quantized_net(IMAGE "a = conv2d x out=3 kernel=3\nr = relu a\nm = maxpool r kernel=2\n"
                            "d = dropout m\nf = flatten d\nfc = linear f out=4");
    const Quantizer *shared = quantized_node(net, "a")->out;
    assert_string_equal(shared->name, "a");
    for (const char *name = "rmdf"; *name; name++)
        assert_ptr_equal(quantized_node(net, (char[]){*name, 0})->out, shared);
    assert_ptr_equal(quantized_node(net, "fc")->in[0], shared);
    assert_ptr_equal(quantized_node(net, "a")->in[0], quantized_node(net, "x")->out);
    assert_ptr_not_equal(quantized_node(net, "x")->out, shared);
    assert_ptr_not_equal(quantized_node(net, "fc")->out, shared);
    assert_int_equal(net->quantizers, 3); /* x, a, fc: each once */
    quantized_free(net);
}

static void edges_have_bits_of_their_own(void **state) {
    (void)state;
    static const struct {
        const char *text, *last; /* last: whose quantizer the output has */
    } nets[] = {
        {IMAGE "a = conv2d x out=3 kernel=3\nf = flatten a\nfc = linear f out=4", "fc"},
        {IMAGE
         "f = flatten x\na = linear f out=8\nfc = linear a out=4\nb = batchnorm fc\nr = relu b",
         "fc"},
        {IMAGE "a = conv2d x out=3 kernel=3\ng = globalavgpool a\nf = flatten g", "g"},
        {IMAGE "a = conv2d x out=3 kernel=3\ng = conv2d a out=3 kernel=1\nr = relu g\nm = maxpool "
               "r kernel=2\n"
               "d = dropout m\nf = flatten d",
         "g"},
    };
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        QuantConfig config = quant_config_default();
        config.activation.bits = 3;
        config.edge_bits = 7;
        QuantNet *net = quantized_with(quantized_graph(nets[i].text), &config);
        const Node *output = graph_output(net->graph);
        assert_ptr_equal(net->node[output->index].out, quantized_node(net, nets[i].last)->out);
        assert_int_equal(quantized_node(net, "x")->out->spec.bits, 7);
        assert_int_equal(net->node[output->index].out->q.qmax, 127);
        assert_int_equal(quantized_node(net, "a")->out->spec.bits, 3);
        quantized_free(net);
    }
}

/* Integers are made for weights around zero. */
/* Weights have both signs: unsigned codes of them need a zero point, and have one unless told
 * otherwise. */
static void unsigned_weights_need_a_zero_point(void **state) {
    (void)state;
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        QuantConfig config = quant_config_default();
        config.weight.is_signed = false;
        config.weight.symmetric = symmetric;
        Graph *graph = quantized_graph(FLAT "a = linear x out=3");
        Error error = {0};
        QuantNet *net = quant_prepare(graph, &config, &error);
        assert_true((net != NULL) == !symmetric);
        if (symmetric) assert_error(&error, ERROR_INPUT, "weights have both signs");
        quant_release(net);
        graph_free(graph);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_fit_together),
        cmocka_unit_test(chains_are_joined),
        cmocka_unit_test(relu_of_the_input_stands_alone),
        cmocka_unit_test(lone_batchnorms_stand_for_themselves),
        cmocka_unit_test(layers_that_share_codes_share_the_quantizer),
        cmocka_unit_test(edges_have_bits_of_their_own),
        cmocka_unit_test(unsigned_weights_need_a_zero_point),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
