/* Convolutions of all ranks, transposed ones too, as layers: whole nets against PyTorch
 * (tests/golden/ make_convs_all.py), which weights belong to which
 * output channel, and the same bits on any number of threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/kernels/parallel.h"
#include "nn/graph.h"
#include "nn/safetensors.h"
#include "quant/fold.h"
#include "quant/outputs_first.h"
#include "quant/quantnet.h"
#include "tests/reference.h"

/* The file's numbers were computed in double. Ours pass through up to five layers of sums of some
 * 50 float32 products, each off by 2^-24 = 6e-8 of a value of order 1 to 10, and through divisions
 * by the deviations of batches of a few dozen values: 50 * 6e-8 * 10 = 3e-5 at worst. What is seen
 * is below 4e-6. */
static const double ABSOLUTE = 2e-5, RELATIVE = 2e-5;

static Graph *parse(const char *text) {
    Error error = {0};
    Graph *graph = graph_parse(text, strlen(text), "test", &error);
    if (!graph) fail_msg("%s", error.message);
    return graph;
}

/* --- against PyTorch --- */

typedef struct Golden {
    Arena *arena;
    const SafeFile *file;
    const char *net;
    Graph *graph;
} Golden;

static Tensor *stored(const Golden *g, const char *part) {
    const SafeTensor *tensor =
        safetensors_find(g->file, arena_text(g->arena, "%s/%s", g->net, part));
    if (!tensor) return NULL;
    Shape shape = {.rank = tensor->rank};
    for (int i = 0; i < shape.rank; i++) shape.dim[i] = (int)tensor->dim[i];
    Tensor *copy = tensor_new(g->arena, shape);
    memcpy(copy->data, tensor->data, tensor->bytes);
    return copy;
}

static void compare(const Golden *g, const char *part, const float *got, size_t count) {
    const Tensor *want = stored(g, part);
    if (!want || want->count != count) fail_msg("%s/%s: %zu elements", g->net, part, count);
    for (size_t i = 0; i < count; i++) {
        double w = (double)want->data[i];
        if (!(fabs((double)got[i] - w) <= ABSOLUTE + RELATIVE * fabs(w)))
            fail_msg("%s/%s[%zu] is %.9g, PyTorch says %.9g", g->net, part, i, (double)got[i], w);
    }
}

/* Every parameter of the graph is in the file, under PyTorch's name and in its shape. */
static Golden golden(const char *net) {
    Error error = {0};
    Golden g = {.arena = arena_new(), .net = net};
    g.file = safetensors_read(g.arena, "tests/golden/convs_all.safetensors", &error);
    if (!g.file) fail_msg("%s", error.message);
    g.graph = parse(safetensors_meta(g.file, net));
    for (int i = 0; i < g.graph->nodes; i++) {
        const Node *node = &g.graph->node[i];
        for (int p = 0; p < node->params; p++) {
            const Param *param = &node->param[p];
            if (param->counter) continue;
            char *name = arena_text(g.arena, "%s.%s", node->name, param->name);
            const Tensor *value = stored(&g, name);
            if (!value || !shape_equal(&value->shape, &param->tensor->shape)) fail_msg("%s", name);
            memcpy(param->tensor->data, value->data, value->count * sizeof(float));
        }
    }
    return g;
}

static void golden_free(Golden *g) {
    graph_free(g->graph);
    arena_free(g->arena);
}

static void test_nets_match_pytorch(void **state) {
    Golden g = golden(*state);
    Tape *tape = tape_new(true);
    Tensor *x = stored(&g, "x");
    x->needs_grad = true;
    const Tensor *weights = stored(&g, "weights");
    Tensor *value[GRAPH_MAX_NODES];
    Tensor *y = graph_forward(g.graph, &(Run){.tape = tape, .training = true}, x, value);
    compare(&g, "train", y->data, y->count);

    Tensor *ones = tensor_new(g.arena, SHAPE(1, (int)y->count));
    for (size_t i = 0; i < ones->count; i++) ones->data[i] = 1;
    Tensor *products = op_mul(tape, y, tensor_copy(g.arena, y->shape, weights->data));
    tape_backward(tape,
                  op_linear(tape, op_reshape(tape, products, SHAPE(1, (int)y->count)), ones, NULL));
    compare(&g, "grad.x", x->grad, x->count);
    for (int i = 0; i < g.graph->nodes; i++)
        for (int p = 0; p < g.graph->node[i].params; p++) {
            const Param *param = &g.graph->node[i].param[p];
            if (!param->trainable) continue;
            char *name = arena_text(g.arena, "grad.%s.%s", g.graph->node[i].name, param->name);
            compare(&g, name, param->tensor->grad, param->tensor->count);
        }
    y = graph_forward(g.graph, &(Run){.tape = tape}, x, value);
    compare(&g, "eval", y->data, y->count);
    tape_free(tape);
    golden_free(&g);
}

/* The channel of a transposed weight is its second dimension: folded along any other, this fails.
 */
static void test_fold_matches_pytorch(void **state) {
    Golden g = golden(*state);
    const Node *t1 = graph_find(g.graph, "t1"), *b1 = graph_find(g.graph, "b1");
    Tape *tape = tape_new(false);
    Tensor *v = op_fold_weight(tape, op_outputs_first(tape, node_tensor(t1, "weight"), t1), b1);
    const Tensor *w = op_layer_order(tape, v, t1),
                 *c = op_fold_bias(tape, node_tensor(t1, "bias"), b1);
    compare(&g, "fused.weight", w->data, w->count);
    compare(&g, "fused.bias", c->data, c->count);
    tape_free(tape);
    golden_free(&g);
}

/* --- the output channels of a weight --- */

/* By the definition: group g of the input channels feeds group g of the outputs. */
static int output_of(const Shape *weight, int groups, size_t i) {
    size_t places = 1;
    for (int d = 2; d < weight->rank; d++) places *= (size_t)weight->dim[d];
    int outputs = weight->dim[1], o = (int)(i / places) % outputs, c = (int)(i / places) / outputs;
    return c / (weight->dim[0] / groups) * outputs + o;
}

static void test_transposed_channels(void **state) {
    (void)state;
    Rng rng = rng_stream(1, RNG_TEST, 0);
    Tape *tape = tape_new(true);
    for (int trial = 0; trial < 200; trial++) {
        tape_reset(tape);
        int groups = random_between(&rng, 1, 4), rank = random_between(&rng, 1, 3);
        char text[256];
        snprintf(text, sizeof text,
                 "x = input shape=%dx%s\nt = conv_transpose%dd x out=%d kernel=%d groups=%d",
                 groups * random_between(&rng, 1, 3),
                 (const char *[]){"5", "4x3", "2x3x2"}[rank - 1], rank,
                 groups * random_between(&rng, 1, 3), random_between(&rng, 1, 3), groups);
        Graph *graph = parse(text);
        const Node *t = graph_output(graph);
        Tensor *w = node_tensor(t, "weight");
        fill_integers(&rng, w->data, w->count);
        fill_integers(&rng, tensor_grad(tape->arena, w), w->count);
        float *before = tensor_copy(tape->arena, w->shape, w->grad)->data;

        Tensor *v = op_outputs_first(tape, w, t);
        int outputs = t->shape.dim[0];
        size_t depth = w->count / (size_t)outputs;
        assert_true(shape_equal(&v->shape, &SHAPE(outputs, (int)depth)));
        size_t filled[16] = {0}; /* weights of each output met so far, in memory order */
        float *g = tensor_grad(tape->arena, v);
        fill_integers(&rng, g, v->count);
        const Entry *entry = &tape->entries[tape->count - 1];
        entry->op->backward(entry);
        for (size_t i = 0; i < w->count; i++) {
            size_t o = (size_t)output_of(&w->shape, groups, i), k = o * depth + filled[o]++;
            assert_true(v->data[k] == w->data[i]);
            assert_true(w->grad[i] == before[i] + g[k]);
        }
        Tensor *back = op_layer_order(tape, v, t);
        assert_true(shape_equal(&back->shape, &w->shape));
        assert_same("there and back", back->data, w->data, w->count);
        memset(g, 0, sizeof *g * v->count);
        fill_integers(&rng, tensor_grad(tape->arena, back), back->count);
        entry = &tape->entries[tape->count - 1];
        entry->op->backward(entry);
        const Tensor *wanted = op_outputs_first(
            tape, &(Tensor){.shape = w->shape, .count = w->count, .data = back->grad}, t);
        assert_same("gradient of the way back", g, wanted->data, v->count);
        graph_free(graph);
    }
    tape_free(tape);
}

/* Simulation without rounding is the float net, folded: same values, same gradients. */
static void test_simulation_is_the_float_net(void **state) {
    Golden g = golden(*state);
    Tape *tape = tape_new(true);
    Tensor *x = stored(&g, "x");
    Error error = {0};
    float *grad[2][GRAPH_MAX_NODES][NODE_PARAMS] = {0};
    for (int folded = 0; folded < 2; folded++) {
        QuantConfig config = quant_config_default();
        if (folded && !quant_prepare(g.graph, &config, &error)) fail_msg("%s", error.message);
        tape_reset(tape);
        Tensor *y = graph_forward(g.graph, &(Run){.tape = tape, .error = &error}, x, NULL);
        int *labels = arena_zeros(tape->arena, sizeof *labels * (size_t)y->shape.dim[0]);
        for (int i = 0; i < g.graph->nodes; i++)
            for (int p = 0; p < g.graph->node[i].params; p++) {
                Tensor *t = g.graph->node[i].param[p].tensor;
                t->grad = NULL;
                if (t->needs_grad) grad[folded][i][p] = tensor_grad(g.arena, t);
            }
        tape_backward(tape, op_cross_entropy(tape, y, labels));
    }
    for (int i = 0; i < g.graph->nodes; i++)
        for (int p = 0; p < g.graph->node[i].params; p++) {
            const float *a = grad[0][i][p], *b = grad[1][i][p];
            for (size_t k = 0; a && k < g.graph->node[i].param[p].tensor->count; k++)
                if (!(fabs((double)a[k] - (double)b[k]) <=
                      ABSOLUTE + RELATIVE * fabs((double)a[k])))
                    fail_msg("%s.%s[%zu]: %g, folded %g", g.graph->node[i].name,
                             g.graph->node[i].param[p].name, k, (double)a[k], (double)b[k]);
        }
    tape_free(tape);
    golden_free(&g);
}

/* --- threads --- */

/* Results and gradients of a transposed convolution over several chunks of samples, one after the
 * other. */
static size_t run_step(float *results) {
    Tape *tape = tape_new(true);
    Rng rng = rng_stream(5, RNG_TEST, 0);
    ConvTransposeSpec spec = {
        .window = window_identity(), .output_padding = {0, 1, 0}, .groups = 2};
    spec.window.kernel[1] = 3, spec.window.kernel[2] = 2, spec.window.stride[1] = 2;
    Tensor *in[3] = {sample_leaf(tape->arena, &rng, SHAPE(5 * CHUNK + 3, 4, 9, 8), 1),
                     sample_leaf(tape->arena, &rng, SHAPE(4, 3, 3, 2), 1),
                     sample_leaf(tape->arena, &rng, SHAPE(6), 1)};
    Tensor *y = op_conv_transpose(tape, in[0], in[1], in[2], &spec);
    float *g = tensor_grad(tape->arena, y);
    for (size_t i = 0; i < y->count; i++) g[i] = rng_normal(&rng);
    for (int i = 0; i < 3; i++) tensor_grad(tape->arena, in[i]);
    tape->entries[0].op->backward(&tape->entries[0]);
    size_t used = y->count;
    memcpy(results, y->data, sizeof(float) * used);
    for (int i = 0; i < 3; used += in[i++]->count)
        memcpy(results + used, in[i]->grad, sizeof(float) * in[i]->count);
    tape_free(tape);
    return used;
}

static void test_same_bits(void **state) {
    (void)state;
    static const int threads[] = {1, 2, 7};
    enum { MOST = 100000 };
    static float results[3][MOST];
    for (int t = 0; t < 3; t++) {
        restart_pool(threads[t]);
        size_t count = run_step(results[t]);
        assert_in_range(count, 1, MOST);
        assert_true(floats_finite(results[t], count));
        assert_memory_equal(results[t], results[0], sizeof(float) * count);
    }
}

#define TEST(function, net)                                                                        \
    { #function " " net, function, NULL, NULL, (void *)net }

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_nets_match_pytorch, "1d"),
        TEST(test_nets_match_pytorch, "2d"),
        TEST(test_nets_match_pytorch, "3d"),
        TEST(test_fold_matches_pytorch, "1d"),
        TEST(test_fold_matches_pytorch, "2d"),
        TEST(test_fold_matches_pytorch, "3d"),
        TEST(test_simulation_is_the_float_net, "1d"),
        TEST(test_simulation_is_the_float_net, "2d"),
        TEST(test_simulation_is_the_float_net, "3d"),
        cmocka_unit_test(test_transposed_channels),
        cmocka_unit_test(test_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, stop_pool);
}
