/* Fake quantization and folding: values, masks of the three estimators, gradients; and one step of
 * a quantized block against PyTorch. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/gradcheck.h"
#include "quant/fold.h"
#include "quant/quantnet.h"
#include "quant/rules/integers.h"
#include "tests/golden.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static Arena *arena;
static Tape *tape;

static int make(void **state) {
    (void)state;
    arena = arena_new();
    tape = tape_new(true);
    return 0;
}

static int clean(void **state) {
    (void)state;
    tape_free(tape);
    arena_free(arena);
    return 0;
}

/* dL/dx for L = sum(up * y) is left in the gradients; up NULL: ones. */
static void backward_from(Tensor *y, const float *up) {
    Tensor *weights = tensor_new(arena, SHAPE(1, (int)y->count));
    for (size_t i = 0; i < y->count; i++) weights->data[i] = up ? up[i] : 1;
    Tensor *row = op_reshape(tape, y, SHAPE(1, (int)y->count));
    tape_backward(tape, op_reshape(tape, op_linear(tape, row, weights, NULL), (Shape){0}));
}

static Tensor *leaf(Shape shape, const float *data) {
    Tensor *t = tensor_copy(arena, shape, data);
    t->needs_grad = true;
    return t;
}

static void assert_floats(const char *what, const float *got, const float *wanted, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (got[i] != wanted[i])
            fail_msg("%s[%zu] is %a, not %a", what, i, (double)got[i], (double)wanted[i]);
}

/* --- op_fakequant --- */

static const float *golden(const char *table, int count) {
    return golden_floats(arena, "fakequant.txt", table, count);
}

static void edges_are_pytorchs(void **state) {
    (void)state;
    Golden edges = golden_open("fakequant.txt", "edges");
    float at, scale, wanted;
    int zero, qmin, qmax, passes;
    while (golden_case(&edges, "%f %f %d %d %d %f %d", &at, &scale, &zero, &qmin, &qmax, &wanted,
                       &passes)) {
        QParams q = {1, &scale, &zero, qmin, qmax};
        tape_reset(tape);
        Tensor *x = leaf(SHAPE(1), &at);
        Tensor *y = op_fakequant(tape, x, &q, STE_CODE);
        assert_true(y->data[0] == wanted);
        backward_from(y, NULL);
        assert_true(x->grad[0] == (float)passes);
    }
}

static void channels_are_pytorchs(void **state) {
    (void)state;
    float scale[3];
    int32_t zero[3] = {0};
    memcpy(scale, golden("channels.scale", 3), sizeof scale);
    QParams q = {3, scale, zero, -127, 127};
    Tensor *x = leaf(SHAPE(3, 2, 2, 2), golden("channels.x", 24));
    Tensor *y = op_fakequant(tape, x, &q, STE_CODE);
    assert_floats("y", y->data, golden("channels.y", 24), y->count);
    const float *up = golden("channels.up", 24);
    backward_from(y, up);
    assert_floats("dx", x->grad, golden("channels.dx", 24), x->count);
    size_t saturated = 0;
    for (size_t i = 0; i < x->count; i++) saturated += x->grad[i] == 0 && up[i] != 0;
    assert_true(saturated > 3); /* their gradient is cut */
}

/* Codes 0 .. 10, Z = 4, S = 1/2: values from -2 to 3. */
static void masks_of_each_estimator(void **state) {
    (void)state;
    static const struct {
        float x;
        int code, range, none;
    } points[] = {
        {-2, 1, 1, 1},          {3, 1, 1, 1},          {0, 1, 1, 1},    {0.77f, 1, 1, 1},
        {-2.01f, 1, 0, 1},      {3.01f, 1, 0, 1}, /* outside, but rounded to the last code */
        {-2.25f, 1, 0, 1},      {3.25f, 1, 0, 1}, /* half a step: ties go to the even -4 and 6 */
        {-2.2500002f, 0, 0, 1}, {3.2500002f, 0, 0, 1}, {-100, 0, 0, 1}, {100, 0, 0, 1},
        {-INFINITY, 0, 0, 1},   {INFINITY, 0, 0, 1},
    };
    float scale = 0.5f;
    int32_t zero = 4;
    QParams q = {1, &scale, &zero, 0, 10};
    for (size_t i = 0; i < COUNT(points); i++)
        for (Ste ste = STE_CODE; ste <= STE_NONE; ste++) {
            tape_reset(tape);
            Tensor *x = leaf(SHAPE(1), &points[i].x);
            Tensor *y = op_fakequant(tape, x, &q, ste);
            assert_true(y->data[0] == dequantize(&q, 0, quantize(&q, 0, points[i].x)));
            backward_from(y, NULL);
            int passes = ste == STE_CODE    ? points[i].code
                         : ste == STE_RANGE ? points[i].range
                                            : points[i].none;
            if (x->grad[0] != (float)passes)
                fail_msg("%g, %s: gradient %g", (double)points[i].x, ste_names[ste],
                         (double)x->grad[0]);
        }
}

/* Every value, on many threads' pieces too, is N2 of N1; the estimator does not change it; NaN
 * stays. */
static void values_are_n2_of_n1(void **state) {
    (void)state;
    enum { CHANNELS = 3, EACH = 20011 };
    Rng rng = rng_stream(1, RNG_TEST, 0);
    static const int bits[] = {2, 4, 8, 16};
    for (int i = 0; i < 8; i++) {
        QuantSpec spec = {.bits = bits[i / 2], .is_signed = i % 2, .per_channel = i % 2};
        QParams q = qparams_new(arena, &spec, i % 2 ? CHANNELS : 1);
        for (int c = 0; c < q.channels; c++)
            qparams_set_range(&q, c, false, -rng_uniform(&rng), 3 * rng_uniform(&rng) * (float)c);
        Tensor *x = sample_leaf(arena, &rng, SHAPE(CHANNELS, EACH), 1);
        x->data[5] = INFINITY;
        x->data[EACH] = -INFINITY;
        x->data[7] = NAN;
        for (Ste ste = STE_CODE; ste <= STE_NONE; ste++) {
            const Tensor *y = op_fakequant(tape, x, &q, ste);
            assert_true(isnan(y->data[7]));
            for (int k = 0; k < CHANNELS * EACH; k++) {
                int c = q.channels == 1 ? 0 : k / EACH;
                if (k != 7)
                    assert_true(y->data[k] == dequantize(&q, c, quantize(&q, c, x->data[k])));
            }
        }
    }
}

static void biases_are_rounded_and_pass_their_gradient(void **state) {
    (void)state;
    static const float values[] = {0, 0.5f, 1.5f, 2.5f, -0.5f, -2.5f, 1e9f, -1e9f, NAN};
    enum { N = COUNT(values) };
    float scale[N];
    int32_t zero[N] = {0};
    for (int per_channel = 0; per_channel < 2; per_channel++) {
        for (int o = 0; o < N; o++) scale[o] = per_channel ? ldexpf(1, -o % 4) : 0.25f;
        QParams w = {per_channel ? N : 1, scale, zero, -127, 127};
        Tensor *b = leaf(SHAPE(N), values);
        Tensor *y = op_fakequant_bias(tape, b, 0.125f, &w);
        for (int o = 0; o + 1 < N; o++) {
            double step = 0.125 * (double)scale[o], code = nearbyint((double)values[o] / step);
            assert_true((double)y->data[o] == step * fmin(fmax(code, -0x1p30), 0x1p30));
        }
        assert_true(isnan(y->data[N - 1]));
        y->data[N - 1] = 0;
        backward_from(y, NULL);
        for (int o = 0; o < N; o++) assert_true(b->grad[o] == 1);
    }
}

/* --- fold --- */

static void fold_gradients_match_differences(void **state) {
    (void)state;
    static const Op *const ops[] = {&fold_weight_op, &fold_bias_op};
    for (size_t i = 0; i < COUNT(ops); i++)
        for (uint64_t seed = 1; seed <= 5; seed++) {
            Error error = {0};
            if (!gradcheck(ops[i], seed, &error)) fail_msg("%s", error.message);
        }
}

static Graph *graph_of(const char *text) {
    Error error = {0};
    Graph *graph = graph_parse(text, strlen(text), "test", &error);
    if (!graph) fail_msg("%s", error.message);
    graph_init(graph, 4);
    return graph;
}

static void set(Graph *graph, const char *node, const char *param, const float *values) {
    Tensor *t = node_tensor(graph_find(graph, node), param);
    memcpy(t->data, values, t->count * sizeof *values);
}

/* gamma (W x + b - mean) / sqrt(var + eps) + beta, in double. The fold rounds s, the product and
 * the bias's three operations: 2^-22 of the terms covers them. */
static void fold_is_its_formula(void **state) {
    (void)state;
    static const float gamma[] = {0, -2, 1e-30f, 3}, var[] = {1, 0, 0, 1e6f},
                       mean[] = {5, -1, 2, 1e3f}, beta[] = {0.25f, -7, 0, 1};
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        Graph *graph = graph_of(
            with_bias ? "x = input shape=3\na = linear x out=4\nbn = batchnorm a"
                      : "x = input shape=3\na = linear x out=4 bias=false\nbn = batchnorm a");
        set(graph, "bn", "weight", gamma);
        set(graph, "bn", "bias", beta);
        set(graph, "bn", "running_mean", mean);
        set(graph, "bn", "running_var", var);
        const Node *a = graph_find(graph, "a"), *bn = graph_find(graph, "bn");
        Tensor *w = node_tensor(a, "weight"), *b = node_tensor(a, "bias");
        const Tensor *v = op_fold_weight(tape, w, bn), *c = op_fold_bias(tape, b, bn);
        for (int o = 0; o < 4; o++) {
            double s = (double)gamma[o] / sqrt((double)var[o] + 1e-5);
            for (int k = 0; k < 3; k++) {
                double wanted = s * (double)w->data[3 * o + k];
                assert_true(fabs((double)v->data[3 * o + k] - wanted) <= 0x1p-22 * fabs(wanted));
            }
            double centred = (b ? (double)b->data[o] : 0) - (double)mean[o];
            double allowed =
                0x1p-22 * (fabs(s) * (1 + fabs((double)mean[o])) + fabs((double)beta[o]));
            assert_true(fabs((double)c->data[o] - (s * centred + (double)beta[o])) <= allowed);
        }
        graph_free(graph);
    }
}

/* The integers of freeze are those whose values training multiplied with: the same bits. */
static void training_and_freezing_fold_alike(void **state) {
    (void)state;
    Graph *graph = graph_of("x = input shape=2x5x5\na = conv2d x out=6 kernel=3\nbn = batchnorm a");
    Rng rng = rng_stream(3, RNG_TEST, 0);
    static const char *const names[] = {"weight", "bias", "running_mean"};
    for (int i = 0; i < 3; i++) {
        Tensor *t = node_tensor(graph_find(graph, "bn"), names[i]);
        for (size_t c = 0; c < t->count; c++) t->data[c] = rng_normal(&rng);
    }
    QuantConfig config = quant_config_default();
    QuantNet *net = quant_prepare(graph, &config, NULL);
    quant_observe(net, true);
    quant_fake(net, true);
    Tensor *x = sample_leaf(arena, &rng, SHAPE(2, 2, 5, 5), 1);
    graph_forward(graph, &(Run){.tape = tape}, x, NULL);
    quant_observe(net, false);
    int first = tape->count;
    graph_forward(graph, &(Run){.tape = tape, .training = true}, x, NULL);
    assert_true(quant_freeze(net, NULL));
    const QNode *a = &net->node[1];
    const WeightedIntegers *w = a->integers;
    int found = 0;
    for (int i = first; i < tape->count; i++) { /* what the convolution of training was given */
        const Entry *entry = &tape->entries[i];
        if (strcmp(entry->op->name, "conv") != 0) continue;
        found++;
        for (size_t k = 0; k < entry->in[1]->count; k++)
            assert_true(entry->in[1]->data[k] == w->grid.scale[k / 18] * (float)w->weight[k]);
        for (int o = 0; o < 6; o++)
            assert_true(entry->in[2]->data[o] ==
                        a->in[0]->q.scale[0] * w->grid.scale[o] * (float)w->bias[o]);
    }
    assert_int_equal(found, 1);
    quant_release(net);
    graph_free(graph);
}

/* --- a block --- */

static void set_range(Quantizer *q, float scale, int zero) {
    q->method = method_find("minmax");
    q->seen.min = scale * (float)(0 - zero);
    q->seen.max = scale * (float)(255 - zero);
    quantizer_update(q);
    assert_true(q->q.scale[0] == scale && q->q.zero_point[0] == zero);
    q->faking = true;
}

static void one_step_is_pytorchs(void **state) {
    (void)state;
    Graph *graph = graph_of("x = input shape=2x4x4\na = conv2d x out=3 kernel=3 padding=1\n"
                            "bn = batchnorm a eps=0.0078125\nr = relu bn");
    set(graph, "a", "weight", golden("block.w", 54));
    set(graph, "a", "bias", golden("block.b", 3));
    set(graph, "bn", "weight", golden("block.gamma", 3));
    set(graph, "bn", "bias", golden("block.beta", 3));
    set(graph, "bn", "running_mean", golden("block.mean", 3));
    set(graph, "bn", "running_var", golden("block.var", 3));
    QuantConfig config = quant_config_default();
    QuantNet *net = quant_prepare(graph, &config, NULL);
    assert_int_equal(net->quantizers, 2);
    const float *grids = golden("block.grids", 3); /* S_x, Z_x, S_y */
    set_range(net->quantizer[0], grids[0], (int)grids[1]);
    set_range(net->quantizer[1], grids[2], 0);
    Tensor *x = leaf(SHAPE(2, 2, 4, 4), golden("block.x", 64));
    Tensor *y = graph_forward(graph, &(Run){.tape = tape, .training = true}, x, NULL);
    assert_floats("y", y->data, golden("block.y", 96), 96);
    backward_from(y, golden("block.up", 96));
    const Node *a = graph_find(graph, "a"), *bn = graph_find(graph, "bn");
    assert_floats("dx", x->grad, golden("block.dx", 64), 64);
    assert_floats("dw", node_tensor(a, "weight")->grad, golden("block.dw", 54), 54);
    assert_floats("db", node_tensor(a, "bias")->grad, golden("block.db", 3), 3);
    assert_floats("dgamma", node_tensor(bn, "weight")->grad, golden("block.dgamma", 3), 3);
    assert_floats("dbeta", node_tensor(bn, "bias")->grad, golden("block.dbeta", 3), 3);
    /* the fold reads the running statistics and leaves them alone */
    assert_floats("mean", node_tensor(bn, "running_mean")->data, golden("block.mean", 3), 3);
    assert_floats("var", node_tensor(bn, "running_var")->data, golden("block.var", 3), 3);
    quant_release(net);
    graph_free(graph);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clean)
    const struct CMUnitTest tests[] = {
        TEST(edges_are_pytorchs),
        TEST(channels_are_pytorchs),
        TEST(masks_of_each_estimator),
        TEST(values_are_n2_of_n1),
        TEST(biases_are_rounded_and_pass_their_gradient),
        TEST(fold_gradients_match_differences),
        TEST(fold_is_its_formula),
        TEST(training_and_freezing_fold_alike),
        TEST(one_step_is_pytorchs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
