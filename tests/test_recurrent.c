/* LSTM and GRU layers: names and shapes of parameters, what they start as, what is refused, the
 * last state, and the same bits on any number of threads. What they compute is held against PyTorch
 * in test_golden_ops and test_golden_nets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "nn/graph.h"
#include "tests/reference.h"
#include "tests/scratch.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define SEQUENCE     "x = input shape=1x6x5\ns = reshape x shape=6x5\n"

static Graph *parse(const char *text) {
    Error error = {0};
    Graph *graph = graph_parse(text, strlen(text), "net", &error);
    if (!graph) fail_msg("%s", error.message);
    return graph;
}

static void parameters_are_pytorchs(void **state) {
    (void)state;
    static const struct {
        const char *name;
        Shape shape;
    } of_lstm[] =
        {
            {"weight_ih_l0", {2, {16, 5}}},
            {"weight_hh_l0", {2, {16, 4}}},
            {"bias_ih_l0", {1, {16}}},
            {"bias_hh_l0", {1, {16}}},
            {"weight_ih_l0_reverse", {2, {16, 5}}},
            {"weight_hh_l0_reverse", {2, {16, 4}}},
            {"bias_ih_l0_reverse", {1, {16}}},
            {"bias_hh_l0_reverse", {1, {16}}},
            {"weight_ih_l1", {2, {16, 8}}}, /* both directions of the layer before */
        },
      of_gru[] = {
          {"weight_ih_l0", {2, {12, 5}}},
          {"weight_hh_l0", {2, {12, 4}}},
          {"weight_ih_l1", {2, {12, 4}}},
          {"weight_hh_l1", {2, {12, 4}}},
      };
    Graph *lstm = parse(SEQUENCE "y = lstm s hidden=4 layers=2 bidirectional=true\n");
    Graph *gru = parse(SEQUENCE "y = gru s hidden=4 layers=2 bias=false output=last\n");
    assert_int_equal(graph_output(lstm)->params, 16);
    assert_int_equal(graph_output(gru)->params, 4);
    assert_true(shape_equal(&graph_output(lstm)->shape, &SHAPE(6, 8)));
    assert_true(shape_equal(&graph_output(gru)->shape, &SHAPE(4)));
    graph_init(lstm, 1);
    for (size_t i = 0; i < COUNT(of_lstm); i++) {
        const Param *p = &graph_output(lstm)->param[i];
        assert_string_equal(p->name, of_lstm[i].name);
        assert_true(shape_equal(&p->tensor->shape, &of_lstm[i].shape));
        assert_true(p->matrix == (p->tensor->shape.rank == 2));
        float most = 0; /* uniform in +- 1 / sqrt(hidden) */
        for (size_t k = 0; k < p->tensor->count; k++) most = fmaxf(most, fabsf(p->tensor->data[k]));
        assert_true(most <= 0.5f && most > 0.35f);
    }
    for (size_t i = 0; i < COUNT(of_gru); i++) {
        assert_string_equal(graph_output(gru)->param[i].name, of_gru[i].name);
        assert_true(shape_equal(&graph_output(gru)->param[i].tensor->shape, &of_gru[i].shape));
    }
    graph_free(lstm);
    graph_free(gru);
}

static void what_does_not_fit_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *told;
    } bad[] = {
        {"x = input shape=1x6x5\ny = lstm x hidden=4\n",
         "lstm needs a sequence, steps x features, not 1x6x5: put a reshape before it"},
        {"x = input shape=30\ny = gru x hidden=4\n", "gru needs a sequence"},
        {SEQUENCE "y = lstm s\n", "hidden"},
        {SEQUENCE "y = lstm s hidden=4 layers=5\n", "layers=5"},
        {SEQUENCE "y = lstm s hidden=4 output=first\n", "output=first"},
        {SEQUENCE "y = lstm s hidden=16384\n", "65536 x 16384 weights, at most 2^28"},
        {"x = input shape=1x1048576x1\ns = reshape x shape=1048576x1\n"
         "y = gru s hidden=1024 output=last\n",
         "3072 gates in each of 1048576 steps, at most 2^28"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        Error error = {0};
        assert_null(graph_parse(bad[i].text, strlen(bad[i].text), "net", &error));
        assert_error(&error, ERROR_INPUT, bad[i].told);
    }
}

static Tensor *random_sequences(Tape *tape, int samples) {
    Rng rng = rng_stream(3, RNG_TEST, 0);
    Tensor *x = tape_tensor(tape, SHAPE(samples, 1, 6, 5));
    for (size_t i = 0; i < x->count; i++) x->data[i] = rng_normal(&rng);
    x->needs_grad = true;
    return x;
}

/* output=last is the end of output=all: step 5 forwards, step 0 backwards. */
static void last_is_where_directions_end(void **state) {
    (void)state;
    Graph *all = parse(SEQUENCE "y = lstm s hidden=3 bidirectional=true\n");
    Graph *last = parse(SEQUENCE "y = lstm s hidden=3 bidirectional=true output=last\n");
    graph_init(all, 4);
    graph_init(last, 4);
    Tape *tape = tape_new(false);
    Tensor *x = random_sequences(tape, 10);
    const Tensor *a = graph_forward(all, &(Run){.tape = tape}, x, NULL);
    const Tensor *b = graph_forward(last, &(Run){.tape = tape}, x, NULL);
    for (size_t n = 0; n < 10; n++) {
        assert_same("forwards", b->data + n * 6, a->data + n * 36 + 5 * 6, 3);
        assert_same("backwards", b->data + n * 6 + 3, a->data + n * 36 + 3, 3);
    }
    tape_free(tape);
    graph_free(all);
    graph_free(last);
}

/* The result, the input's gradient and all parameters' with that many threads. */
static size_t learn(Graph *graph, int threads, Arena *arena, float **all) {
    restart_pool(threads);
    Tape *tape = tape_new(true);
    Tensor *x = random_sequences(tape, 43), *part[32] = {x};
    int parts = 1, labels[43] = {1, 2, 0, 1};
    Tensor *y = graph_forward(graph, &(Run){.tape = tape, .training = true}, x, NULL);
    const Node *node = &graph->node[2];
    for (int i = 0; i < node->params; i++) {
        part[parts++] = node->param[i].tensor;
        node->param[i].tensor->grad = NULL;
    }
    tape_backward(tape, op_cross_entropy(tape, y, labels));
    size_t count = y->count, at = y->count;
    for (int i = 0; i < parts; i++) count += part[i]->count;
    *all = arena_alloc(arena, sizeof **all * count);
    memcpy(*all, y->data, sizeof **all * y->count);
    for (int i = 0; i < parts; at += part[i++]->count)
        memcpy(*all + at, part[i]->grad, sizeof **all * part[i]->count);
    tape_free(tape);
    return count;
}

/* One number that is hidden, three steps, by hand: with reset=before the reset gate multiplies h,
 * and with reset=after (the default) w h + b. */
static void reset_multiplies_the_state_or_the_sum(void **state) {
    (void)state;
    static const char *const nets[] = {"x = input shape=1x3x1\ns = reshape x shape=3x1\n"
                                       "y = gru s hidden=1\n",
                                       "x = input shape=1x3x1\ns = reshape x shape=3x1\n"
                                       "y = gru s hidden=1 reset=before\n"};
    static const float w[3] = {0.5f, -0.25f, 1.5f}, u[3] = {2, -1, 0.75f},
                       b[3] = {0.1f, 0.2f, 0.3f}, c[3] = {-0.4f, 0.6f, 0.9f}, x[3] = {1, -2, 0.5f};
    for (int before = 0; before < 2; before++) {
        Graph *graph = parse(nets[before]);
        Arena *arena = arena_new();
        assert_string_equal(graph_text(graph, arena), nets[before]); /* the default stays unsaid */
        const Node *node = graph_output(graph);
        memcpy(node_tensor(node, "weight_ih_l0")->data, w, sizeof w);
        memcpy(node_tensor(node, "weight_hh_l0")->data, u, sizeof u);
        memcpy(node_tensor(node, "bias_ih_l0")->data, b, sizeof b);
        memcpy(node_tensor(node, "bias_hh_l0")->data, c, sizeof c);
        Tape *tape = tape_new(false);
        Tensor *in = tensor_copy(tape->arena, SHAPE(1, 1, 3, 1), x);
        const Tensor *y = graph_forward(graph, &(Run){.tape = tape}, in, NULL);
        double h = 0;
        for (int t = 0; t < 3; t++) {
            double r = 1 / (1 + exp(-((double)w[0] * x[t] + b[0] + u[0] * h + c[0])));
            double z = 1 / (1 + exp(-((double)w[1] * x[t] + b[1] + u[1] * h + c[1])));
            double sum = before ? u[2] * (r * h) + c[2] : r * (u[2] * h + c[2]);
            h = (1 - z) * tanh((double)w[2] * x[t] + b[2] + sum) + z * h;
            assert_true(fabs((double)y->data[t] - h) <
                        1e-6); /* some roundings of numbers below 1 */
        }
        tape_free(tape);
        arena_free(arena);
        graph_free(graph);
    }
}

static void threads_change_nothing(void **state) {
    (void)state;
    static const char *const nets[] = {
        SEQUENCE "y = lstm s hidden=9 layers=2 bidirectional=true output=last\n",
        SEQUENCE "y = gru s hidden=11 layers=2 bidirectional=true output=last\n",
        SEQUENCE "y = gru s hidden=11 layers=2 bidirectional=true output=last reset=before\n",
    };
    for (size_t i = 0; i < COUNT(nets); i++) {
        Arena *arena = arena_new();
        Graph *graph = parse(nets[i]);
        graph_init(graph, 2);
        float *one, *several;
        size_t count = learn(graph, 1, arena, &one);
        for (int threads = 2; threads < 6; threads += 3) {
            learn(graph, threads, arena, &several);
            assert_memory_equal(one, several, sizeof *one * count);
        }
        graph_free(graph);
        arena_free(arena);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_pytorchs),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(last_is_where_directions_end),
        cmocka_unit_test(reset_multiplies_the_state_or_the_sum),
        cmocka_unit_test(threads_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, stop_pool);
}
