/* AdaRound: codes that were chosen are the codes that ship, and they are better than the nearest.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/gradcheck.h"
#include "autograd/kernels/parallel.h"
#include "quant/ptq/adaround.h"
#include "tests/quantized.h"
#include "tests/random_net.h"
#include "tests/reference.h"
#include "train/adaround.h"

static void gradients_match_differences(void **state) {
    (void)state;
    Error error = {0};
    for (uint64_t seed = 1; seed < 6; seed++)
        if (!gradcheck(&soft_round_op, seed, &error) || !gradcheck(&rounding_cost_op, seed, &error))
            fail_msg("%s", error.message);
}

static bool learns(const QNode *q) {
    return !q->into && !q->is_float && node_has_rule(q->node, "weighted");
}

/* --- what is chosen is what N1 gives --- */

typedef struct Codes {
    Folded folded;
    int32_t *code; /* [folded.weight->count] */
} Codes;

static Codes codes_of(Tape *tape, const QNode *q) {
    Codes codes = {.folded = weighted_fold(tape, q, q->batchnorm)};
    const QParams *grid = &codes.folded.grid;
    size_t count = codes.folded.weight->count, each = count / (size_t)grid->channels;
    codes.code = arena_alloc(tape->arena, sizeof *codes.code * count);
    for (size_t i = 0; i < count; i++)
        codes.code[i] = quantize(grid, (int)(i / each), codes.folded.weight->data[i]);
    return codes;
}

/* Chooses at random for every weight of q that has a choice. Returns how many have. */
static int choose_at_random(const QNode *q, Rng *rng) {
    Tape *tape = tape_new(false);
    Codes nearest = codes_of(tape, q);
    const QParams *grid = &nearest.folded.grid;
    size_t count = nearest.folded.weight->count, bytes = sizeof(float) * (size_t)grid->channels;
    Tensor *weight = node_tensor(q->node, "weight");
    Tensor *before = tensor_copy(tape->arena, weight->shape, weight->data);
    Rounding *rounding = rounding_new(tape->arena, q);
    int32_t *want = arena_alloc(tape->arena, sizeof *want * count);
    int choices = 0, other = 0;
    for (size_t i = 0; i < count; i++) {
        want[i] = nearest.code[i];
        if (!rounding->turn[i]) continue;
        choices++;
        bool turned = rng_below(rng, 2);
        bool up = turned == (rounding->turn[i] > 0);
        rounding->v->data[i] = up ? 5 : -5;
        want[i] += turned ? rounding->turn[i] : 0;
        other += turned;
    }
    assert_int_equal(choices, rounding->choices);
    assert_int_equal(rounding_settle(rounding), other);
    Codes got = codes_of(tape, q);
    assert_memory_equal(got.folded.grid.scale, grid->scale, bytes);
    assert_memory_equal(got.folded.grid.zero_point, grid->zero_point,
                        sizeof(int32_t) * (size_t)grid->channels);
    assert_memory_equal(got.code, want, sizeof *want * count);
    int changed = 0;
    for (size_t i = 0; i < count; i++)
        changed += memcmp(&weight->data[i], &before->data[i], sizeof(float)) != 0;
    assert_int_equal(changed, other); /* and no other weight moved by a bit */
    tape_free(tape);
    return choices;
}

static void choices_survive_the_fold(void **state) {
    (void)state;
    int choices = 0, layers = 0;
    for (uint64_t trial = 0; trial < 150; trial++) {
        Rng rng = rng_stream(11, RNG_TEST, trial);
        char text[RANDOM_NET_TEXT];
        random_net(&rng, text);
        Graph *graph = quantized_graph(text);
        if (trial % 3) random_parameters(&rng, graph);
        QuantConfig config = random_config(&rng);
        if (trial % 4 == 3) config.weight.scale_amax = 0.8f;
        QuantNet *net = quantized_with(graph, &config);
        quantized_calibrate(net);
        for (int i = 0; i < graph->nodes; i++)
            if (learns(&net->node[i])) {
                choices += choose_at_random(&net->node[i], &rng);
                layers++;
            }
        quantized_free(net);
    }
    assert_true(layers > 200 && choices > 100 * layers / 10);
}

/* v begins where w~ is w, and its ends are the two neighbours. */
static void it_begins_with_the_weights(void **state) {
    (void)state;
    QuantConfig config = quant_config_default();
    config.weight.bits = 3;
    QuantNet *net = quantized_with(
        quantized_graph("x = input shape=2x6x6\nc = conv2d x out=6 kernel=3\nb = batchnorm c"),
        &config);
    quantized_calibrate(net);
    const QNode *q = quantized_node(net, "c");
    Tape *tape = tape_new(false);
    Rounding *r = rounding_new(tape->arena, q);
    Codes codes = codes_of(tape, q);
    Tensor *x = tape_tensor(tape, SHAPE(1, 2, 6, 6));
    for (size_t i = 0; i < x->count; i++) x->data[i] = (float)(i % 7) - 3;
    Tensor *y = rounding_apply(tape, r, x);
    Tensor *w =
        tensor_copy(tape->arena, q->node->param[0].tensor->shape, codes.folded.weight->data);
    size_t each = w->count / 6;
    for (size_t i = 0; i < w->count; i++) /* those without a choice are rounded */
        if (!r->turn[i])
            w->data[i] = dequantize(&codes.folded.grid, (int)(i / each), codes.code[i]);
    Tensor *want = q->node->layer->apply(tape, q->node, x, w, r->bias);
    for (size_t i = 0; i < y->count;
         i++) /* h(v) returns to within some roundings of its argument */
        assert_true(fabsf(y->data[i] - want->data[i]) < 1e-5f);
    assert_true(r->choices > 0 && r->choices <= (int)w->count - 6); /* each channel has an end */
    tape_free(tape);
    quantized_free(net);
}

/* --- learning --- */

enum { BATCH = 16, BATCHES = 3 };

/* Normal images, the same at every call. */
static Tensor *images(void *context, int i, Tape *tape) {
    const Graph *graph = context;
    if (i == BATCHES) return NULL;
    Rng rng = rng_stream(4, RNG_TEST, (uint64_t)i);
    Tensor *x = tape_tensor(tape, shape_batched(&graph->node[0].shape, BATCH));
    for (size_t k = 0; k < x->count; k++) x->data[k] = rng_normal(&rng);
    return x;
}

/* All inputs of an image alike. */
static Tensor *flat_images(void *context, int i, Tape *tape) {
    Tensor *x = images(context, i, tape);
    for (size_t k = 0; x && k < x->count; k++) x->data[k] = x->data[k - k % 8];
    return x;
}

static QuantNet *calibrated(const char *text, int bits, ImageSource *source) {
    QuantConfig config = quant_config_default();
    config.weight.bits = bits;
    QuantNet *net = quantized_with(quantized_graph(text), &config);
    Tape *tape = tape_new(false);
    Tensor *x;
    for (int i = 0; (x = source(net->graph, i, tape)); i++) calibrate_on(net, BATCH, x->data);
    tape_free(tape);
    return net;
}

/* In 4 bits, S = 1: the nearest codes sum to 14 where the weights sum to 16.74, and all inputs are
 * alike: two or three of the seven have to go up. */
static void nearest_is_not_best(void **state) {
    (void)state;
    QuantNet *net = calibrated("x = input shape=8\nl = linear x out=1\n", 4, flat_images);
    Tensor *weight = node_tensor(graph_find(net->graph, "l"), "weight");
    static const float weights[] = {7, 1.28f, 1.32f, 1.36f, 1.40f, 1.44f, 1.46f, 1.48f};
    memcpy(weight->data, weights, sizeof weights);
    AdaRoundSpec spec = {.steps = 500};
    assert_true(adaround(net, flat_images, net->graph, &spec, NULL));
    Tape *tape = tape_new(false);
    Codes codes = codes_of(tape, quantized_node(net, "l"));
    assert_true(codes.folded.grid.scale[0] == 1);
    int sum = 0;
    for (int k = 0; k < 8; k++) sum += codes.code[k];
    assert_in_range(sum, 16, 17);
    assert_int_equal(codes.code[0], 7);
    tape_free(tape);
    quantized_free(net);
}

static const char net_text[] = "x = input shape=2x6x6\n"
                               "c1 = conv2d x out=6 kernel=3 bias=false\n"
                               "n1 = batchnorm c1\n"
                               "r1 = relu n1\n"
                               "t = conv_transpose2d r1 out=6 kernel=3 padding=1\n"
                               "a = add t r1\n"
                               "r2 = relu a\n"
                               "p = maxpool r2 kernel=2\n"
                               "f = flatten p\n"
                               "l = linear f out=5\n";

/* Mean squared error of node i's value, behind an absorbed relu and before it is rounded, against
 * the float graph's. */
static double error_at(const QuantNet *net, const Graph *exact, int i) {
    Tape *tape = tape_new(false);
    Run run = {.tape = tape};
    const QNode *q = &net->node[i];
    Tensor *value[GRAPH_MAX_NODES], *want[GRAPH_MAX_NODES], *x;
    int end = q->relu ? q->relu->index : q->batchnorm ? q->batchnorm->index : i;
    double sum = 0;
    for (int b = 0; (x = images(net->graph, b, tape)); b++) {
        graph_forward(net->graph, &run, x, value);
        graph_forward(exact, &run, x, want);
        Tensor *y = q->rule->simulate(&run, q, &value[q->node->in[0]]);
        if (q->relu) y = q->relu->layer->forward(&run, q->relu, &y);
        for (size_t k = 0; k < y->count; k++)
            sum += pow((double)y->data[k] - (double)want[end]->data[k], 2);
    }
    tape_free(tape);
    return sum;
}

static float *weights_of(const Graph *graph, int i) {
    return node_tensor(&graph->node[i], "weight")->data;
}

/* Layer by layer: behind the rounded layers before it, none is worse with its learned codes than
 * with the nearest; no code is more than one off. One step learns next to nothing, and must still
 * do no harm; 300 must help. */
static void no_layer_gets_worse(void **state) {
    (void)state;
    static const int steps[] = {1, 2, 8, 300};
    Graph *exact = quantized_graph(net_text);
    for (int bits = 2; bits <= 4; bits++)
        for (int s = 0; s < 4; s++) {
            QuantNet *net = calibrated(net_text, bits, images);
            QuantNet *before = calibrated(net_text, bits, images); /* the nearest */
            AdaRoundSpec spec = {.steps = steps[s], .seed = 3};
            assert_true(adaround(net, images, net->graph, &spec, NULL));
            for (int i = 0; i < net->graph->nodes; i++) {
                if (!learns(&net->node[i])) continue;
                double learned = error_at(net, exact, i), nearest;
                Tape *tape = tape_new(false);
                Codes a = codes_of(tape, &net->node[i]), b = codes_of(tape, &before->node[i]);
                for (size_t k = 0; k < a.folded.weight->count; k++)
                    assert_true(abs(a.code[k] - b.code[k]) <= 1);
                nearest = error_at(before, exact, i);
                /* both are sums in another order than the engine's */
                assert_true(learned <= nearest * (1 + 1e-6));
                /* c1 reads noise, whose errors do not add up: there the nearest is hard to beat */
                if (steps[s] == 300 && strcmp(net->node[i].node->name, "c1") != 0)
                    assert_true(learned < 0.8 * nearest);
                memcpy(weights_of(before->graph, i), weights_of(net->graph, i),
                       sizeof(float) * node_tensor(net->node[i].node, "weight")->count);
                tape_free(tape);
            }
            quantized_free(net);
            quantized_free(before);
        }
    graph_free(exact);
}

/* The weights depend on the seed, and on nothing else. */
static void same_bits_at_any_thread_count(void **state) {
    (void)state;
    QuantNet *net[3];
    for (int t = 0; t < 3; t++) {
        parallel_stop();
        parallel_start(t == 1 ? 3 : 1);
        net[t] = calibrated(net_text, 3, images);
        AdaRoundSpec spec = {.steps = 60, .seed = t == 2};
        assert_true(adaround(net[t], images, net[t]->graph, &spec, NULL));
    }
    parallel_stop();
    bool differs = false;
    for (int i = 0; i < net[0]->graph->nodes; i++) {
        if (!learns(&net[0]->node[i])) continue;
        size_t bytes = sizeof(float) * node_tensor(net[0]->node[i].node, "weight")->count;
        assert_memory_equal(weights_of(net[0]->graph, i), weights_of(net[1]->graph, i), bytes);
        differs |= memcmp(weights_of(net[0]->graph, i), weights_of(net[2]->graph, i), bytes) != 0;
    }
    assert_true(differs);
    for (int t = 0; t < 3; t++) quantized_free(net[t]);
}

static Tensor *bad_images(void *context, int i, Tape *tape) {
    Tensor *x = images(context, i, tape);
    if (x) x->data[0] = NAN;
    return x;
}

static void a_value_that_is_no_number_is_told(void **state) {
    (void)state;
    QuantNet *net = calibrated(net_text, 4, images);
    Error error = {0};
    AdaRoundSpec spec = {.steps = 5};
    assert_false(adaround(net, bad_images, net->graph, &spec, &error));
    assert_int_equal(error.code, ERROR_INPUT);
    quantized_free(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_match_differences),
        cmocka_unit_test(choices_survive_the_fold),
        cmocka_unit_test(it_begins_with_the_weights),
        cmocka_unit_test(nearest_is_not_best),
        cmocka_unit_test(no_layer_gets_worse),
        cmocka_unit_test(same_bits_at_any_thread_count),
        cmocka_unit_test(a_value_that_is_no_number_is_told),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    stop_pool(NULL);
    return failed;
}
