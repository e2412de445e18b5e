/* Fine-tuning of whole nets: learned ranges and the modes of batch normalisation where numbers
 * vanish, through freezing, and what learns what. Against PyTorch: test_golden_qat. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/ops.h"
#include "quant/bn.h"
#include "quant/model.h"
#include "quant/rules/integers.h"
#include "quant/rules/weighted.h"
#include "tests/quantized.h"
#include "tests/random_net.h"

static Arena *arena; /* of one test */
static Tape *tape;

static int start(void **state) {
    (void)state;
    arena = arena_new();
    tape = tape_new(true);
    return 0;
}

static int stop(void **state) {
    (void)state;
    tape_free(tape);
    arena_free(arena);
    return 0;
}

static void fill(Tensor *tensor, Rng *rng, float spread) {
    for (size_t i = 0; i < tensor->count; i++) tensor->data[i] = spread * rng_normal(rng);
}

/* Ranges of all values from a few random images, then as in fine-tuning. */
static void calibrate(QuantNet *net, Tensor *images) {
    Error error = {0};
    Tape *calm = tape_new(false);
    quant_collect(net);
    quant_observe(net, true);
    graph_forward(net->graph, &(Run){.tape = calm, .error = &error}, images, NULL);
    assert_true(quant_select(net, method_find("minmax"), 100, &error));
    quant_track(net);
    tape_free(calm);
}

static void all_finite(const Graph *graph) {
    for (int i = 0; i < graph->nodes; i++)
        for (int k = 0; k < graph->node[i].params; k++) {
            const Param *p = &graph->node[i].param[k];
            if (!floats_finite(p->tensor->data, p->tensor->count) ||
                (p->tensor->grad && !floats_finite(p->tensor->grad, p->tensor->count)))
                fail_msg("%s.%s is not finite", graph->node[i].name, p->name);
        }
}

/* One step of gradient descent of the rate, with random labels. */
static void train_step(QuantNet *net, Tensor *images, float rate) {
    Graph *graph = net->graph;
    Error error = {0};
    int labels[64] = {0};
    for (int i = 0; i < images->shape.dim[0]; i++) labels[i] = i % 3;
    tape_reset(tape);
    quantized_clear_gradients(graph);
    Tensor *logits =
        graph_forward(graph, &(Run){.tape = tape, .training = true, .error = &error}, images, NULL);
    assert_int_equal(error.code, 0);
    Tensor *loss = op_cross_entropy(tape, logits, labels);
    assert_true(isfinite(loss->data[0]));
    tape_backward(tape, loss);
    quant_keep_scales(net);
    for (int i = 0; i < graph->nodes; i++)
        for (int k = 0; k < graph->node[i].params; k++) {
            const Param *p = &graph->node[i].param[k];
            for (size_t e = 0; p->trainable && e < p->tensor->count; e++)
                p->tensor->data[e] -= rate * p->tensor->grad[e];
        }
    quant_limit_scales(net);
    all_finite(graph);
}

static const Normalization pixels = {.channels = 2, .mean = {0.4f, 0.6f}, .std = {0.3f, 0.25f}};

/* Both engines on random bytes: every code agrees. The net is set back to simulate. */
static void engines_agree(QuantNet *net, Rng *rng) {
    enum { IMAGES = 6 };
    Error error = {0};
    quantized_freeze(net);
    Program *program = program_build(net, &pixels, &error);
    if (!program) fail_msg("%s", error.message);
    size_t bytes = shape_count(&net->graph->node[0].shape);
    uint8_t *data = arena_alloc(arena, IMAGES * bytes);
    float *x = arena_alloc(arena, IMAGES * bytes * sizeof *x);
    for (size_t i = 0; i < IMAGES * bytes; i++) data[i] = (uint8_t)rng_below(rng, 256);
    normalized(&pixels, IMAGES, bytes, data, x);
    assert_engines_agree("a fine-tuned net", net, program, IMAGES, x, data);
    program_free(program);
    quant_simulate(net);
}

static const char whole_net[] =
    "x     = input shape=2x6x6\n"
    "conv1 = conv2d x out=4 kernel=3\n"
    "bn1   = batchnorm conv1\n"
    "relu1 = relu bn1\n"
    "conv2 = conv_transpose2d relu1 out=6 kernel=2 groups=2 bias=false\n"
    "bn2   = batchnorm conv2\n"
    "flat  = flatten bn2\n"
    "fc    = linear flat out=3\n";

/* The net with random weights and statistics, ranges calibrated on `images`; the caller frees the
 * graph. */
static QuantNet *random_whole_net(Rng *rng, int bits, int weight_bits, bool per_channel) {
    Graph *graph = quantized_graph(whole_net);
    graph_init(graph, rng_next(rng));
    for (int i = 0; i < graph->nodes; i++) {
        Node *node = &graph->node[i];
        if (strcmp(node->layer->name, "batchnorm") != 0) continue;
        fill(node_tensor(node, "weight"), rng, 1);
        fill(node_tensor(node, "running_mean"), rng, 0.5f);
        for (size_t c = 0; c < node_tensor(node, "running_var")->count; c++)
            node_tensor(node, "running_var")->data[c] = 0.2f + rng_uniform(rng);
    }
    QuantConfig config = quant_config_default();
    config.activation.bits = bits;
    config.weight.bits = weight_bits;
    config.weight.per_channel = per_channel;
    return quantized_with(graph, &config);
}

static Tensor *random_images(Rng *rng) {
    Tensor *images = tensor_new(arena, SHAPE(9, 2, 6, 6));
    fill(images, rng, 1);
    return images;
}

/* gamma = 0, var = 0, a channel without weights, images without contrast: in every mode, with every
 * way to learn ranges, values, gradients and statistics stay finite, and what comes of it freezes.
 */
static void nothing_divides_by_zero(void **state) {
    (void)state;
    Rng rng = rng_stream(1, RNG_TEST, 0);
    for (int mode = 0; bn_mode_name(mode); mode++)
        for (int learn = 0; learn_name(learn); learn++)
            for (int contrast = 0; contrast < 2; contrast++) {
                QuantNet *net = random_whole_net(&rng, 4, 4, mode != 1);
                Tensor *images = random_images(&rng);
                for (size_t i = 0; !contrast && i < images->count; i++) images->data[i] = 0.3f;
                Node *bn = graph_find(net->graph, "bn1"), *conv = graph_find(net->graph, "conv1");
                node_tensor(bn, "weight")->data[0] = 0;
                node_tensor(bn, "running_var")->data[1] = 0;
                memset(node_tensor(conv, "weight")->data + 2 * 18, 0, 18 * sizeof(float));
                calibrate(net, images);
                quant_learn(net, &learn_list[learn]);
                quant_learn_start(net);
                net->config.bn = &bn_mode_list[mode];
                for (int step = 0; step < 3; step++) train_step(net, images, 0.01f);
                engines_agree(net, &rng);
                quantized_free(net);
            }
}

/* ---- learned ranges in a net ---- */

static void every_width_freezes_exactly(void **state) {
    (void)state;
    Rng rng = rng_stream(2, RNG_TEST, 0);
    for (int bits = 2; bits <= 8; bits++)
        for (int learn = 0; learn_name(learn); learn++) {
            QuantNet *net = random_whole_net(&rng, bits, 10 - bits, bits % 2);
            Tensor *images = random_images(&rng);
            calibrate(net, images);
            quant_learn(net, &learn_list[learn]);
            quant_learn_start(net);
            for (int step = 0; step < 3; step++) train_step(net, images, 0.05f);
            engines_agree(net, &rng);
            quantized_free(net);
        }
}

/* lsq: freezing takes the learned scales of weights and values, to the bit; only a channel whose
 * bias would not fit keeps N3's floor, the same while training. */
static void freezing_takes_the_learned_scale(void **state) {
    (void)state;
    Rng rng = rng_stream(3, RNG_TEST, 0);
    Error error = {0};
    QuantNet *net = random_whole_net(&rng, 4, 3, true);
    calibrate(net, random_images(&rng));
    quant_learn(net, learn_find("lsq"));
    QNode *q = graph_find(net->graph, "conv1")->quant;
    const float learned[] = {0.11f, 1e-30f, 0.3f, 0.07f};
    memcpy(q->weight_scale->data, learned, sizeof learned);
    node_tensor(q->batchnorm, "bias")->data[1] = 5; /* 5 / (S_x 1e-30) is no int32 */
    q->out->learned->data[0] = 0.125f;
    assert_true(quant_freeze(net, &error));
    const WeightedIntegers *w = q->integers;
    Tape calm = {.arena = arena};
    Folded folded = weighted_fold(&calm, q, q->batchnorm);
    for (int o = 0; o < 4; o++) {
        if (o != 1) assert_true(w->grid.scale[o] == learned[o]);
        assert_true(w->grid.scale[o] == folded.grid.scale[o]);
        for (int k = 0; k < 18; k++)
            assert_int_equal(w->weight[o * 18 + k],
                             quantize(&folded.grid, o, folded.weight->data[o * 18 + k]));
    }
    assert_true(w->grid.scale[1] == bias_scale_floor(folded.bias->data[1], q->in[0]->q.scale[0]));
    assert_true(q->out->q.scale[0] == 0.125f);
    engines_agree(net, &rng);
    quantized_free(net);
}

/* What learns what: lsq all but the input, pact the values alone; "none" nothing. */
static void ways_to_learn(void **state) {
    (void)state;
    static const int parameters[] = {0, 6, 3}; /* none, lsq, pact: of 3 weighted layers */
    for (int learn = 0; learn_name(learn); learn++) {
        Rng rng = rng_stream(4, RNG_TEST, 0);
        QuantNet *net = random_whole_net(&rng, 4, 4, true);
        Tensor *images = random_images(&rng);
        calibrate(net, images);
        float before = net->quantizer[1]->q.scale[0], input = net->quantizer[0]->q.scale[0];
        quant_learn(net, &learn_list[learn]);
        quant_learn_start(net);
        assert_int_equal(net->learned, parameters[learn]);
        assert_null(net->quantizer[0]->learned);
        for (size_t i = 0; i < images->count; i++) images->data[i] *= 2; /* what observers follow */
        train_step(net, images, 0.1f);
        assert_true(net->quantizer[1]->q.scale[0] != before);
        assert_true(net->quantizer[0]->q.scale[0] > input);
        quantized_free(net);
    }
}

/* A rate that would throw scales anywhere: a step halves or doubles them at most. */
static void scales_stay_scales(void **state) {
    (void)state;
    Rng rng = rng_stream(5, RNG_TEST, 0);
    QuantNet *net = random_whole_net(&rng, 2, 2, true);
    Tensor *images = random_images(&rng);
    calibrate(net, images);
    quant_learn(net, learn_find("lsq"));
    quant_learn_start(net);
    bool met = false;
    for (int step = 0; step < 5; step++) {
        train_step(net, images, 3);
        for (int i = 0; i < net->learned; i++)
            for (size_t c = 0; c < net->scale[i].tensor->count; c++) {
                float now = net->scale[i].tensor->data[c], was = net->scale[i].kept[c];
                assert_true(now > 0 && now >= was / 2 && now <= was * 2);
                met |= now == was / 2 || now == was * 2;
            }
    }
    assert_true(met);
    quantized_free(net);
}

/* Each value's own switches: observing moves its range, faking rounds it; both off, it is float. */
static void switches_of_one_value(void **state) {
    (void)state;
    Rng rng = rng_stream(6, RNG_TEST, 0);
    QuantNet *net = random_whole_net(&rng, 2, 8, true);
    Tensor *images = random_images(&rng), *value[GRAPH_MAX_NODES];
    calibrate(net, images);
    Run run = {.tape = tape, .error = &(Error){0}};
    quant_observe(net, false);
    float scale = net->quantizer[1]->q.scale[0];
    net->quantizer[1]->faking = false;
    for (int round = 0; round < 2; round++) {
        tape_reset(tape);
        for (size_t i = 0; i < images->count; i++) images->data[i] *= 3;
        graph_forward(net->graph, &run, images, value);
        const Tensor *y = value[graph_find(net->graph, "relu1")->index];
        int beyond = 0; /* steps of 2 bits: 4 values at most */
        for (size_t i = 0; i < y->count; i++) beyond += y->data[i] > scale * 3;
        assert_true(round == 0 ? beyond > 0 : beyond == 0);
        assert_true(net->quantizer[1]->q.scale[0] == scale);
        net->quantizer[1]->faking = true;
    }
    net->quantizer[1]->observing = true;
    graph_forward(net->graph, &run, images, value);
    assert_true(net->quantizer[1]->q.scale[0] > scale);
    quantized_free(net);
}

int main(void) {
#define IN_ARENA(function) cmocka_unit_test_setup_teardown(function, start, stop)
    const struct CMUnitTest tests[] = {
        IN_ARENA(nothing_divides_by_zero),
        IN_ARENA(every_width_freezes_exactly),
        IN_ARENA(freezing_takes_the_learned_scale),
        IN_ARENA(ways_to_learn),
        IN_ARENA(scales_stay_scales),
        IN_ARENA(switches_of_one_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
