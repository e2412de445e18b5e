/* Cross-layer equalization: the float function stays, the ranges of neighbours meet, what is dead
 * or joined by something else is left alone. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "quant/ptq/equalize.h"
#include "tests/quantized.h"

enum { SAMPLES = 3, OUTPUTS_MOST = 64 };

/* Channels of every layer up to a factor 30 apart, batch statistics of their own. */
static Graph *uneven(const char *text) {
    Graph *graph = quantized_graph(text);
    Rng rng = rng_stream(2, RNG_TEST, 0);
    for (int i = 0; i < graph->nodes; i++)
        for (int k = 0; k < graph->node[i].params; k++) {
            const Param *p = &graph->node[i].param[k];
            if (p->counter) continue;
            bool weighted = strcmp(graph->node[i].layer->rule, "weighted") == 0;
            size_t run =
                weighted ? p->tensor->count / (size_t)node_layout(&graph->node[i]).outputs : 1;
            for (size_t c = 0; c < p->tensor->count; c++)
                if (strcmp(p->name, "running_var") == 0)
                    p->tensor->data[c] = 0.1f + 3 * rng_uniform(&rng);
                else
                    p->tensor->data[c] = (p->tensor->data[c] + 0.1f * rng_normal(&rng)) *
                                         powf(30, rng_uniform(&rng) * (c % run == 0));
        }
    return graph;
}

static void logits(const Graph *graph, float y[SAMPLES * OUTPUTS_MOST], size_t *count) {
    Tape *tape = tape_new(false);
    Rng rng = rng_stream(3, RNG_TEST, 0);
    Tensor *x = tape_tensor(tape, shape_batched(&graph->node[0].shape, SAMPLES));
    for (size_t i = 0; i < x->count; i++) x->data[i] = rng_normal(&rng);
    Tensor *result = graph_forward(graph, &(Run){.tape = tape}, x, NULL);
    *count = result->count;
    assert_true(*count <= SAMPLES * OUTPUTS_MOST);
    memcpy(y, result->data, *count * sizeof *y);
    tape_free(tape);
}

/* Equalizes; the logits are what they were, up to the rounding of some thousand float products. */
static int equalize_keeping_logits(Graph *graph) {
    float before[SAMPLES * OUTPUTS_MOST], after[SAMPLES * OUTPUTS_MOST], most = 0;
    size_t count;
    logits(graph, before, &count);
    int pairs = quant_equalize(graph);
    logits(graph, after, &count);
    for (size_t i = 0; i < count; i++) most = fmaxf(most, fabsf(before[i]));
    assert_true(most > 1e-3f);
    for (size_t i = 0; i < count; i++)
        assert_true(fabsf(after[i] - before[i]) <= 1e-4f * fmaxf(most, 1));
    return pairs;
}

static void the_function_stays(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int pairs;
    } nets[] = {
        {"x = input shape=7\na = linear x out=6\nr = relu a\nb = linear r out=5\n", 1},
        {"x = input shape=7\na = linear x out=6 bias=false\nb = linear a out=5\n", 1},
        {"x = input shape=2x8x8\na = conv2d x out=6 kernel=3\nn = batchnorm a\nr = relu n\n"
         "p = maxpool r kernel=2\nd = dropout p\nb = conv2d d out=8 kernel=2 groups=2\nm = "
         "batchnorm b\n"
         "s = relu m\nq = avgpool s kernel=2\nf = flatten q\nc = linear f out=5\n",
         2},
        {"x = input shape=2x8x8\na = conv2d x out=6 kernel=3\nr = relu a\nb = conv2d r out=6 "
         "kernel=3 groups=6\n"
         "s = relu b\nf = flatten s\nc = linear f out=5\n",
         2},
        {"x = input shape=2x5\na = conv_transpose1d x out=6 kernel=3 groups=2 stride=2\nn = "
         "batchnorm a\nr = relu n\n"
         "b = conv_transpose1d r out=4 kernel=2 groups=2\ns = relu b\nc = conv1d s out=4 kernel=3\n"
         "f = flatten c\n",
         2},
    };
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        Graph *graph = uneven(nets[i].text);
        assert_int_equal(equalize_keeping_logits(graph), nets[i].pairs);
        graph_free(graph);
    }
}

static void what_something_else_reads_is_left_alone(void **state) {
    (void)state;
    static const char *const nets[] = {
        "x = input shape=7\na = linear x out=6\nr = relu a\nb = linear r out=6\nc = add b r\n",
        "x = input shape=7\na = linear x out=6\nr = relu a\n",
        "x = input shape=2x8x8\na = conv2d x out=6 kernel=3\nr = relu a\nn = batchnorm r\n"
        "f = flatten n\nc = linear f out=5\n",
        /* what reads them sees several channels as one, or parts of several */
        "x = input shape=2x6x6\na = conv2d x out=4 kernel=3\nr = reshape a shape=2x32\n"
        "b = conv1d r out=2 kernel=3\nf = flatten b\n",
        "x = input shape=2x6x6\na = conv2d x out=6 kernel=3\nr = reshape a shape=8x6x2\n"
        "b = conv2d r out=3 kernel=1\nf = flatten b\n",
        "x = input shape=2x6x6\na = conv2d x out=4 kernel=3\nr = reshape a shape=2x32\n"
        "p = maxpool r kernel=2\nf = flatten p\nb = linear f out=5\n",
        "x = input shape=2x6x6\na = conv2d x out=4 kernel=3\nr = transpose a order=2x1x3\n"
        "b = conv2d r out=3 kernel=3\nf = flatten b\n",
    };
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        if (i == 2) continue; /* below */
        Graph *graph = uneven(nets[i]);
        float before[SAMPLES * OUTPUTS_MOST], after[SAMPLES * OUTPUTS_MOST];
        size_t count;
        logits(graph, before, &count);
        assert_int_equal(quant_equalize(graph), 0);
        logits(graph, after, &count);
        assert_memory_equal(before, after, count * sizeof *before);
        graph_free(graph);
    }
    Graph *graph = uneven(nets[2]);
    assert_int_equal(quant_equalize(graph), 0);
    graph_free(graph);
}

static float row_range(const Tensor *w, int row) {
    int depth = w->shape.dim[1];
    float most = 0;
    for (int k = 0; k < depth; k++) most = fmaxf(most, fabsf(w->data[row * depth + k]));
    return most;
}
static float column_range(const Tensor *w, int column) {
    int depth = w->shape.dim[1];
    float most = 0;
    for (int o = 0; o < w->shape.dim[0]; o++)
        most = fmaxf(most, fabsf(w->data[o * depth + column]));
    return most;
}

/* Section 4.1: afterwards the ranges of both sides are the geometric mean of what they were. */
static void ranges_meet_and_dead_channels_stay(void **state) {
    (void)state;
    Graph *graph =
        uneven("x = input shape=7\na = linear x out=6\nr = relu a\nb = linear r out=5\n");
    Tensor *one = node_tensor(graph_find(graph, "a"), "weight"),
           *two = node_tensor(graph_find(graph, "b"), "weight");
    Tensor *bias = node_tensor(graph_find(graph, "a"), "bias");
    for (int k = 0; k < 7; k++) one->data[2 * 7 + k] = 0;      /* reads nothing */
    for (int k = 0; k < 7; k++) one->data[4 * 7 + k] *= 1e-9f; /* next to nothing */
    for (int o = 0; o < 5; o++) two->data[o * 6 + 3] = 0;      /* nobody listens */
    float mean[6], row[7], biases[6];
    for (int c = 0; c < 6; c++) mean[c] = sqrtf(row_range(one, c) * column_range(two, c));
    memcpy(row, one->data + 3 * 7, sizeof row);
    memcpy(biases, bias->data, sizeof biases);
    assert_int_equal(equalize_keeping_logits(graph), 1);
    for (int c = 0; c < 6; c++) {
        if (c == 2 || c == 3 || c == 4) {
            assert_true(bias->data[c] == biases[c]);
            continue;
        }
        assert_true(fabsf(row_range(one, c) / mean[c] - 1) < 1e-5f); /* some float roundings */
        assert_true(fabsf(column_range(two, c) / mean[c] - 1) < 1e-5f);
    }
    assert_memory_equal(row, one->data + 3 * 7, sizeof row);
    graph_free(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_function_stays),
        cmocka_unit_test(what_something_else_reads_is_left_alone),
        cmocka_unit_test(ranges_meet_and_dead_channels_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
