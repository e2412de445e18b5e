/* The explanation of an output is what the program computes: for layers of every kind and rank,
 * elements at the border and inside, code for code; and through the program. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quant/explain.h"
#include "quant/quantnet.h"
#include "tests/program.h"
#include "tests/quantized.h"
#include "tests/scratch.h"

/* Every element of the value of `a`, from its terms in 64 bits, against the exact walk. */
static void explain_all(const char *text, const QuantConfig *config) {
    QuantNet *net = quantized_with(quantized_graph(text), config);
    Error error = {0};
    quantized_calibrate(net);
    if (!quant_freeze(net, &error)) fail_msg("%s\n%s", text, error.message);
    quant_exact(net);
    const QNode *a = quantized_node(net, "a");
    Tape *tape = tape_new(false);
    Rng rng = rng_stream(2, RNG_TEST, 0);
    Tensor *x = tape_tensor(tape, shape_batched(&net->graph->node[0].shape, 1));
    for (size_t i = 0; i < x->count; i++) x->data[i] = rng_normal(&rng);
    Tensor *value[GRAPH_MAX_NODES];
    graph_forward(net->graph, &(Run){.tape = tape, .error = &error}, x, value);
    const Tensor *in = value[a->node->in[0]], *out = value[a->node->index];
    bool moved = false;
    for (int i = 0; i < (int)out->count; i++) {
        Explanation e;
        if (!quant_explain(a, in, i, tape->arena, &e, &error)) fail_msg("%s", error.message);
        int64_t sum = 0;
        for (int k = 0; k < e.terms; k++) sum += (int64_t)e.term[k].x * e.term[k].w;
        assert_int_equal(sum, e.sum);
        assert_true(fabs(e.scale / (e.multiplier.m0 * exp2(-e.multiplier.shift)) - 1) < 0x1p-30);
        if (e.real != out->data[i]) fail_msg("%s\nelement %d", text, i);
        moved |= e.real != 0;
    }
    assert_true(moved);
    tape_free(tape);
    quantized_free(net);
}

static void every_weighted_layer_is_explained(void **state) {
    (void)state;
    static const char *const nets[] = {
        "x = input shape=7\na = linear x out=5",
        "x = input shape=7\na = linear x out=5\nb = batchnorm a\nr = relu b",
        "x = input shape=4x9\na = conv1d x out=6 kernel=3 stride=2 padding=1 groups=2",
        "x = input shape=2x5x6\na = conv2d x out=3 kernel=3x2 padding=1 dilation=2\nr = relu a",
        "x = input shape=3x5x5\na = conv2d x out=3 kernel=3 padding=1 groups=3 bias=false",
        "x = input shape=2x3x4x3\na = conv3d x out=2 kernel=2 padding=1",
        "x = input shape=4x5\na = conv_transpose1d x out=6 kernel=3 stride=2 groups=2",
        "x = input shape=2x3x4\na = conv_transpose2d x out=3 kernel=3 stride=2 padding=1 "
        "output_padding=1\nr = relu6 a",
        "x = input shape=2x2x3x2\na = conv_transpose3d x out=2 kernel=2 stride=2",
        "x = input shape=3x4x4\na = batchnorm x\nr = relu a",
    };
    QuantConfig config = quant_config_default();
    for (int way = 0; way < 3; way++) {
        if (way == 1) assert_true(quant_config_preset("seed-per-tensor-affine", &config));
        if (way == 2) config.weight.bits = config.activation.bits = config.edge_bits = 3;
        for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) explain_all(nets[i], &config);
    }
}

static void what_cannot_be_explained_is_told(void **state) {
    (void)state;
    static const struct {
        const char *node, *message;
        int element;
    } cases[] = {
        {"p", "p: a maxpool has no weights", 0},
        {"r", "r: it is a part of a", 0},
        {"a", "a: element 108, its result has 0 to 107", 108},
        {"a", "a: element -1", -1},
    };
    QuantNet *net = quantized_net("x = input shape=2x6x6\na = conv2d x out=3 kernel=1\n"
                                  "r = relu a\np = maxpool r kernel=2");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error error = {0};
        Explanation e;
        assert_false(quant_explain(quantized_node(net, cases[i].node), NULL, cases[i].element,
                                   net->graph->arena, &e, &error));
        assert_error(&error, ERROR_INPUT, cases[i].message);
    }
    quantized_free(net);
}

/* The numbers at the end of what is printed are those of the file's engine. */
static void the_program_explains(void **state) {
    (void)state;
    write_nets();
    write_idx("data", 256, 64);
    must("train --model tiny.net --data data --epochs 2 -o f.st -q");
    must("calibrate f.st --data data -o c.st -q");
    must("freeze c.st -o i.st -q");
    must("eval i.st --data data --predictions i.csv");
    char *csv = file_bytes("i.csv", NULL), *line = csv;
    for (int i = 0; i <= 7; i++) line = strchr(line, '\n') + 1; /* the header, images 0 to 6 */
    float logit = 0;
    assert_int_equal(sscanf(line, "7,%*d,%*d,%*f,%*f,%f", &logit), 1);
    for (int frozen = 0; frozen < 2; frozen++) {
        must("explain %s fc --data data --index 7 --element 2", frozen ? "i.st" : "c.st");
        const char *end = strstr(printed.out, "\nreal ");
        assert_non_null(end);
        const char *equals = strrchr(end, '=');
        assert_true((float)atof(equals + 1) == logit);
        assert_int_equal(strstr(printed.out, "float net") != NULL, !frozen);
    }
    must("explain c.st conv1 --data data --element 399");
    assert_non_null(strstr(printed.out, "sum of 9 products"));
    refused(3, "the model is in stage float", "explain f.st fc --data data");
    refused(3, "did you mean fc?", "explain c.st fx --data data");
    refused(3, "relu1: it is a part of conv1", "explain c.st relu1 --data data");
    refused(3, "element 4, its result has 0 to 3", "explain c.st fc --data data --element 4");
    refused(2, "image 64", "explain c.st fc --data data --index 64");
    free(csv);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_weighted_layer_is_explained),
        cmocka_unit_test(what_cannot_be_explained_is_told),
        cmocka_unit_test(the_program_explains),
    };
    return cmocka_run_group_tests(tests, program_setup, program_teardown);
}
