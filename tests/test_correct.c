/* Bias correction: the means of all channels, before relu, become those of the float net. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "quant/ptq/correct.h"
#include "quant/rules/integers.h"
#include "tests/quantized.h"
#include "tests/random_net.h"

enum { BATCH = 8, BATCHES = 3, SAMPLES = BATCH * BATCHES - 3 /* the last batch is smaller */ };

/* Normal images, the same at every call. */
static Tensor *images(void *context, int i, Tape *tape) {
    const Graph *graph = context;
    if (i == BATCHES) return NULL;
    int count = i < BATCHES - 1 ? BATCH : SAMPLES - i * BATCH;
    Rng rng = rng_stream(4, RNG_TEST, (uint64_t)i);
    Tensor *x = tape_tensor(tape, shape_batched(&graph->node[0].shape, count));
    for (size_t k = 0; k < x->count; k++) x->data[k] = rng_normal(&rng);
    return x;
}

static void calibrate(QuantNet *net) {
    Tape *tape = tape_new(false);
    for (int i = 0; i < BATCHES; i++) {
        Tensor *x = images(net->graph, i, tape);
        calibrate_on(net, x->shape.dim[0], x->data);
    }
    tape_free(tape);
}

enum { CHANNELS_MOST = 8 };
typedef struct Means {
    double of[GRAPH_MAX_NODES][CHANNELS_MOST];
} Means;

/* Means of each weighted layer's result, its batchnorm included. */
static void add(Means *means, const Node *node, const Tensor *y) {
    size_t channels = (size_t)y->shape.dim[1],
           positions = y->count / ((size_t)y->shape.dim[0] * channels);
    assert_true(channels <= CHANNELS_MOST);
    for (size_t i = 0; i < y->count; i++)
        means->of[node->index][i / positions % channels] +=
            (double)y->data[i] / ((double)SAMPLES * (double)positions);
}

/* Of the float graph: the nodes' own values, nothing folded. */
static Means float_means(const char *text) {
    Graph *graph = quantized_graph(text);
    Means means = {0};
    Tape *tape = tape_new(false);
    Tensor *value[GRAPH_MAX_NODES];
    for (int b = 0; b < BATCHES; b++) {
        graph_forward(graph, &(Run){.tape = tape}, images(graph, b, tape), value);
        for (int i = 0; i < graph->nodes; i++) {
            const Node *next = graph_only_reader(graph, i);
            bool folds = next && strcmp(next->layer->name, "batchnorm") == 0;
            if (graph->node[i].layer->apply)
                add(&means, &graph->node[i], value[folds ? next->index : i]);
        }
    }
    tape_free(tape);
    graph_free(graph);
    return means;
}

static Means rounded_means(QuantNet *net) {
    Means means = {0};
    Tape *tape = tape_new(false);
    Run run = {.tape = tape};
    Tensor *value[GRAPH_MAX_NODES];
    for (int b = 0; b < BATCHES; b++) {
        graph_forward(net->graph, &run, images(net->graph, b, tape), value);
        for (int i = 0; i < net->graph->nodes; i++) {
            const QNode *q = &net->node[i];
            if (!q->into && q->node->layer->apply)
                add(&means, q->node, q->rule->simulate(&run, q, &value[q->node->in[0]]));
        }
    }
    tape_free(tape);
    return means;
}

static double largest_error(const Means *a, const Means *b, int node) {
    double most = 0;
    for (int c = 0; c < CHANNELS_MOST; c++)
        most = fmax(most, fabs(a->of[node][c] - b->of[node][c]));
    return most;
}

static const char net_text[] = "x = input shape=2x6x6\n"
                               "c1 = conv2d x out=6 kernel=3 bias=false\n"
                               "n1 = batchnorm c1\n"
                               "r1 = relu n1\n"
                               "c2 = conv2d r1 out=6 kernel=3 padding=1\n"
                               "a = add c2 r1\n"
                               "r2 = relu a\n"
                               "p = maxpool r2 kernel=2\n"
                               "f = flatten p\n"
                               "l = linear f out=5\n";

/* Up to the rounding of the old bias and the new one, half a step of S_x S_w each. */
static void channel_means_become_the_float_nets(void **state) {
    (void)state;
    QuantConfig config = quant_config_default();
    config.weight.bits = config.activation.bits = 3;
    for (int per_channel = 0; per_channel < 2; per_channel++) {
        config.weight.per_channel = per_channel;
        QuantNet *net = quantized_with(quantized_graph(net_text), &config);
        calibrate(net);
        Means exact = float_means(net_text), before = rounded_means(net);
        Error error = {0};
        assert_true(quant_correct_biases(net, images, net->graph, &error));
        Means after = rounded_means(net);
        assert_true(quant_freeze(net, &error));
        for (int i = 0; i < net->graph->nodes; i++) {
            const QNode *q = &net->node[i];
            if (q->into || !q->node->layer->apply) continue;
            double step = 0;
            for (int c = 0; c < q->node->shape.dim[0]; c++) {
                const WeightedIntegers *w = q->integers;
                step = fmax(step, (double)q->in[0]->q.scale[0] *
                                      (double)w->grid.scale[per_channel ? c : 0]);
            }
            /* and the roundings of float sums */
            assert_true(largest_error(&exact, &after, i) <= step + 1e-5);
            assert_true(largest_error(&exact, &after, i) < 0.5 * largest_error(&exact, &before, i));
        }
        quantized_free(net);
    }
}

static void what_has_no_bias_stays(void **state) {
    (void)state;
    QuantNet *net = quantized_net("x = input shape=5\nl = linear x out=4 bias=false\n");
    calibrate(net);
    Means before = rounded_means(net);
    assert_true(quant_correct_biases(net, images, net->graph, NULL));
    Means after = rounded_means(net);
    assert_memory_equal(&before, &after, sizeof before);
    quantized_free(net);
}

static Tensor *bad_images(void *context, int i, Tape *tape) {
    Tensor *x = images(context, i, tape);
    if (x) x->data[0] = NAN;
    return x;
}

static void a_value_that_is_no_number_is_told(void **state) {
    (void)state;
    QuantNet *net = quantized_net(net_text);
    calibrate(net);
    Error error = {0};
    assert_false(quant_correct_biases(net, bad_images, net->graph, &error));
    assert_int_equal(error.code, ERROR_INPUT);
    for (int i = 0; i < net->quantizers; i++) assert_true(net->quantizer[i]->faking);
    quantized_free(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(channel_means_become_the_float_nets),
        cmocka_unit_test(what_has_no_bias_stays),
        cmocka_unit_test(a_value_that_is_no_number_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
