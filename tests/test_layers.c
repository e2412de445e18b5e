/* The promises of every row in the list of layers, and what parameters start as. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nn/graph.h"
#include "nn/layers/batchnorm.h"
#include "quant/rule.h"
#include "tests/reference.h"
#include "train/text.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { BATCH = 3 };

static Graph *parse(const char *text) {
    Error error = {0};
    Graph *graph = graph_parse(text, strlen(text), "net", &error);
    if (!graph) fail_msg("%s\n%s", error.message, text);
    return graph;
}

/* The smallest net with the layer as its last node: an input that fits, a value for each field that
 * has no default. */
static Graph *minimal_net(const Layer *layer) {
    static const char *const shapes[] = {"4x6x6", "6", "4x6", "4x6x6x6", "2"};
    if (layer->inputs == 0) return parse("x = input shape=4x6x6\ny = relu x\n");
    for (size_t s = 0; s < COUNT(shapes); s++) {
        char text[512] = "";
        text_append(text, sizeof text, "x = input shape=%s\ny = %s", shapes[s], layer->name);
        int inputs = layer->inputs == INPUTS_MANY ? 3 : layer->inputs;
        for (int i = 0; i < inputs; i++) text_append(text, sizeof text, " x");
        for (const Field *f = layer->fields; f && f->name; f++)
            if (!f->fallback) text_append(text, sizeof text, " %s=2", f->name);
        Graph *graph = graph_parse(text, strlen(text), "net", NULL);
        if (graph) return graph;
    }
    fail_msg("no net for %s", layer->name);
    return NULL;
}

static Tensor *random_batch(const Graph *graph, Tape *tape, uint64_t seed) {
    Rng rng = rng_stream(seed, RNG_TEST, 0);
    Tensor *x = tape_tensor(tape, shape_batched(&graph->node[0].shape, BATCH));
    for (size_t i = 0; i < x->count; i++) x->data[i] = rng_normal(&rng);
    return x;
}

/* All parameters and buffers, one after the other. */
static float *copy_params(const Graph *graph, Arena *arena, size_t *count) {
    *count = 0;
    for (int pass = 0;; pass++) {
        float *all = pass ? arena_alloc(arena, sizeof *all * *count) : NULL;
        size_t at = 0;
        for (int i = 0; i < graph->nodes; i++)
            for (int k = 0; k < graph->node[i].params; k++) {
                const Tensor *t = graph->node[i].param[k].tensor;
                if (pass) memcpy(all + at, t->data, sizeof *all * t->count);
                at += t->count;
            }
        if (pass) return all;
        *count = at;
    }
}

/* --- the rows --- */

static void test_rows(void **state) {
    (void)state;
    for (int i = 0; layer_list[i]; i++) {
        const Layer *layer = layer_list[i];
        assert_true(layer->name && *layer->name && layer->summary && *layer->summary);
        assert_true(layer->shape && layer->forward);
        assert_ptr_equal(layer_find(layer->name), layer); /* no name twice */
        char typed[64];
        snprintf(typed, sizeof typed, "%s_", layer->name);
        assert_ptr_equal(layer_nearest(typed), layer);
        for (const Field *f = layer->fields; f && f->name; f++) {
            char shown[64];
            snprintf(shown, sizeof shown, "%s=", f->name);
            if (!strstr(layer->summary, shown)) fail_msg("%s: nothing of %s", layer->name, shown);
            assert_ptr_equal(field_find(layer->fields, f->name), f);
            assert_true((f->type == &field_choice) == (f->choices != NULL));
        }
    }
    assert_null(layer_find("Relu"));
    assert_null(layer_nearest("qqqqqqqq"));
}

static void test_quantization_rules(void **state) {
    (void)state;
    for (int i = 0; layer_list[i]; i++) {
        const Layer *layer = layer_list[i];
        if (!layer->rule) continue;
        if (!rule_find(layer->rule)) fail_msg("%s: no rule %s", layer->name, layer->rule);
        bool linear = strcmp(layer->rule, "weighted") == 0 || strcmp(layer->rule, "fold") == 0;
        assert_true(linear == (layer->apply != NULL));
        assert_true((strcmp(layer->rule, "mean") == 0) == (layer->divisor != NULL));
        assert_true((strcmp(layer->rule, "pointwise") == 0) == (layer->pointwise != NULL));
        assert_true(layer->clamp[0] <= layer->clamp[1]);
        if (layer_clamps(layer)) assert_non_null(layer->pointwise);
    }
}

/* Each result has the shape that its node promises; evaluation changes nothing. */
static void test_forward(void **state) {
    (void)state;
    for (int i = 0; layer_list[i]; i++) {
        Graph *graph = minimal_net(layer_list[i]);
        Tape *tape = tape_new(true);
        graph_init(graph, 1);
        for (int training = 0; training < 2; training++) {
            size_t count;
            Tensor *value[GRAPH_MAX_NODES];
            float *before = copy_params(graph, tape->arena, &count);
            Run run = {.tape = tape, .training = training};
            graph_forward(graph, &run, random_batch(graph, tape, 1), value);
            for (int n = 0; n < graph->nodes; n++) {
                Shape promised = shape_batched(&graph->node[n].shape, BATCH);
                assert_true(shape_equal(&value[n]->shape, &promised));
                assert_true(floats_finite(value[n]->data, value[n]->count));
            }
            float *after = copy_params(graph, tape->arena, &count);
            if (!training) assert_memory_equal(before, after, sizeof *before * count);
        }
        tape_free(tape);
        graph_free(graph);
    }
}

/* What quant/ relies on: apply is forward with other weights, pointwise forward of one value,
 * divisor what the mean divides by. */
static void test_functions_of_rows(void **state) {
    (void)state;
    for (int i = 0; layer_list[i]; i++) {
        const Layer *layer = layer_list[i];
        Graph *graph = minimal_net(layer);
        const Node *node = graph_output(graph);
        Tape *tape = tape_new(false);
        Run run = {.tape = tape};
        graph_init(graph, 2);
        Tensor *x = random_batch(graph, tape, 2);
        Tensor *y = graph_forward(graph, &run, x, NULL);
        if (layer->rule && strcmp(layer->rule, "fold") ==
                               0) { /* with this mean, variance and eps, forward is it */
            ((BatchNormLayerSpec *)node->spec)->eps = 0;
            for (size_t c = 0; c < 4; c++) node_tensor(node, "bias")->data[c] = (float)c;
            y = graph_forward(graph, &run, x, NULL);
        }
        if (layer->apply) {
            Tensor *w = node_tensor(node, "weight"), *b = node_tensor(node, "bias");
            Tensor *applied = layer->apply(tape, node, x, w, b);
            assert_memory_equal(applied->data, y->data, sizeof *y->data * y->count);
            if (b) { /* no bias is a bias of 0 */
                memset(b->data, 0, sizeof *b->data * b->count);
                Tensor *zero = layer->apply(tape, node, x, w, b),
                       *none = layer->apply(tape, node, x, w, NULL);
                assert_same(layer->name, none->data, zero->data, zero->count);
                assert_true(memcmp(none->data, y->data, sizeof *y->data * y->count) != 0);
            }
        }
        if (layer->pointwise)
            for (size_t k = 0; k < y->count; k++)
                assert_true(y->data[k] == layer->pointwise(node, x->data[k]));
        if (layer_clamps(layer))
            for (float v = -16; v <= 16; v += 0.25f)
                assert_true(layer->pointwise(node, v) ==
                            fminf(fmaxf(v, layer->clamp[0]), layer->clamp[1]));
        if (layer->divisor) { /* the mean of equal values, and of one among zeros */
            float divisor = (float)layer->divisor(node, &graph->node[node->in[0]].shape, 0);
            for (size_t k = 0; k < x->count; k++) x->data[k] = divisor;
            y = graph_forward(graph, &run, x, NULL);
            for (size_t k = 0; k < y->count; k++) assert_true(y->data[k] == divisor);
            memset(x->data, 0, sizeof *x->data * x->count);
            x->data[0] = divisor;
            assert_true(graph_forward(graph, &run, x, NULL)->data[0] == 1);
        }
        tape_free(tape);
        graph_free(graph);
    }
}

/* --- what parameters start as --- */

/* U[-bound, bound] has mean 0 and variance bound^2 / 3; the mean of n squares deviates from that by
 * bound^2 sqrt(4 / 45 n). Five deviations are allowed, and one hundredth at the ends. */
static void assert_uniform(const Tensor *t, double bound) {
    double sum = 0, squares = 0, most = 0, n = (double)t->count;
    for (size_t i = 0; i < t->count; i++) {
        double v = (double)t->data[i];
        sum += v;
        squares += v * v;
        most = fmax(most, fabs(v));
    }
    assert_true(most <= (double)(float)bound && most > 0.99 * bound);
    assert_true(fabs(sum / n) < 5 * bound / sqrt(3 * n));
    assert_true(fabs(squares / n - bound * bound / 3) < 5 * bound * bound * sqrt(4 / (45 * n)));
}

static void test_init(void **state) {
    (void)state;
    /* fan_in 100 and fan_out 400 of both: 4 channels of a group, 25 places, 16 outputs of a group
     */
    static const char *const layers[] = {"conv2d x out=32 kernel=5 groups=2", "linear x out=400"};
    static const char *const shapes[] = {"8x6x6", "100"};
    static const struct {
        const char *init;
        double square; /* of the bound, by the formulas of nn/init.h */
        bool bias;
    } kinds[] = {
        {"default", 1 / 100.0, true}, {"kaiming", 6 / 100.0, false}, {"xavier", 6 / 500.0, false}};
    for (size_t l = 0; l < COUNT(layers); l++)
        for (size_t k = 0; k < COUNT(kinds); k++) {
            char text[256];
            snprintf(text, sizeof text, "x = input shape=%s\ny = %s init=%s\n", shapes[l],
                     layers[l], kinds[k].init);
            Graph *graph = parse(text);
            graph_init(graph, 3);
            const Node *node = graph_output(graph);
            assert_uniform(node_tensor(node, "weight"), sqrt(kinds[k].square));
            const Tensor *bias = node_tensor(node, "bias");
            for (size_t i = 0; i < bias->count; i++)
                assert_true(kinds[k].bias ? fabsf(bias->data[i]) <= 0.1f && bias->data[i] != 0
                                          : bias->data[i] == 0);
            graph_free(graph);
        }
}

static void test_init_streams(void **state) {
    (void)state;
    Graph *graph = parse("x = input shape=6\na = linear x out=6\nb = linear a out=6\n");
    size_t count;
    float *first[3];
    for (uint64_t trial = 0; trial < 3; trial++) {
        graph_init(graph, trial / 2); /* seeds 0 0 1 */
        first[trial] = copy_params(graph, graph->arena, &count);
    }
    assert_memory_equal(first[0], first[1], sizeof(float) * count);
    int same = 0;
    for (size_t i = 0; i < count; i++) same += first[0][i] == first[2][i];
    assert_true(same < 2); /* 24 random bits each: a single meeting is one in 2^17 */
    const float *a = node_tensor(&graph->node[1], "weight")->data;
    const float *b = node_tensor(&graph->node[2], "weight")->data;
    for (size_t i = 0; i < 36; i++) assert_true(a[i] != b[i]); /* a stream for each node */
    graph_free(graph);
}

/* --- layers that behave differently while training --- */

static void test_batchnorm_statistics(void **state) {
    (void)state;
    Graph *graph = parse("x = input shape=2x2x2\nb = batchnorm x momentum=0.25\n");
    const Node *node = graph_output(graph);
    Tape *tape = tape_new(false);
    graph_init(graph, 0);
    const float *mean = node_tensor(node, "running_mean")->data;
    const float *var = node_tensor(node, "running_var")->data;
    const float *batches = node_tensor(node, "num_batches_tracked")->data;
    assert_true(node_tensor(node, "weight")->data[1] == 1 &&
                node_tensor(node, "bias")->data[1] == 0);
    assert_true(mean[1] == 0 && var[1] == 1 && *batches == 0);
    Tensor *x = random_batch(graph, tape, 4);
    for (size_t i = 0; i < x->count; i++) x->data[i] = i / 4 % 2 ? -8 : 2; /* by channel */
    for (int step = 1; step <= 2; step++) {
        graph_forward(graph, &(Run){.tape = tape, .training = true}, x, NULL);
        double kept =
            pow(0.75, step); /* running = 0.75 running + 0.25 batch; the batch's variance is 0 */
        assert_true((double)mean[0] == 2 * (1 - kept) && (double)mean[1] == -8 * (1 - kept));
        assert_true((double)var[0] == kept && (double)var[1] == kept && *batches == (float)step);
        graph_forward(graph, &(Run){.tape = tape}, x, NULL);
        assert_true((double)mean[0] == 2 * (1 - kept) && *batches == (float)step);
    }
    tape_free(tape);
    graph_free(graph);
}

static void test_dropout(void **state) {
    (void)state;
    Graph *graph = parse("x = input shape=4x6x6\na = dropout x p=0.75\nb = dropout x p=0.75\n"
                         "c = add a b\n");
    Tape *tape = tape_new(false);
    Tensor *x = random_batch(graph, tape, 5), *value[GRAPH_MAX_NODES];
    size_t bytes = sizeof(float) * x->count;
    graph_forward(graph, &(Run){.tape = tape}, x, value);
    assert_memory_equal(value[1]->data, x->data, bytes);
    Tensor *seen[4];
    for (uint64_t t = 0; t < 4; t++) { /* (seed, step): 7 0, 7 0, 7 1, 8 0 */
        Run run = {.tape = tape, .training = true, .seed = t == 3 ? 8 : 7, .step = t == 2};
        graph_forward(graph, &run, x, value);
        seen[t] = value[1];
        if (t == 0) assert_true(memcmp(value[1]->data, value[2]->data, bytes) != 0);
        for (size_t i = 0; i < x->count; i++)
            assert_true(value[1]->data[i] == 0 || value[1]->data[i] == 4 * x->data[i]);
    }
    assert_memory_equal(seen[0]->data, seen[1]->data, bytes);
    assert_true(memcmp(seen[0]->data, seen[2]->data, bytes) != 0);
    assert_true(memcmp(seen[0]->data, seen[3]->data, bytes) != 0);
    tape_free(tape);
    graph_free(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_quantization_rules),
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_functions_of_rows),
        cmocka_unit_test(test_init),
        cmocka_unit_test(test_init_streams),
        cmocka_unit_test(test_batchnorm_statistics),
        cmocka_unit_test(test_dropout),
    };
    return cmocka_run_group_tests(tests, NULL, stop_pool);
}
