/* Fine-tuning: learned ranges and the modes of batch normalisation, against PyTorch
 * (tests/golden/make_qat.py explains qat.safetensors), where numbers vanish, through freezing, and
 * across a resumed run. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/gradcheck.h"
#include "quant/bn.h"
#include "quant/compare.h"
#include "quant/model.h"
#include "quant/rules/integers.h"
#include "quant/rules/weighted.h"
#include "tests/scratch.h"
#include "train/command.h"

/* ---- PyTorch's numbers ---- */

static Arena *arena; /* of one test */
static Tape *tape;
static const SafeFile *golden;

static int start(void **state) {
    (void)state;
    Error error = {0};
    arena = arena_new();
    tape = tape_new(true);
    golden = safetensors_read(arena, "tests/golden/qat.safetensors", &error);
    return golden ? 0 : -1;
}

static int stop(void **state) {
    (void)state;
    tape_free(tape);
    arena_free(arena);
    return 0;
}

static Tensor *part(const char *name, const char *what) {
    const SafeTensor *stored = safetensors_find(golden, arena_text(arena, "%s/%s", name, what));
    if (!stored) fail_msg("no %s/%s", name, what);
    Shape shape = {.rank = stored->rank};
    for (int i = 0; i < shape.rank; i++) shape.dim[i] = (int)stored->dim[i];
    return tensor_copy(arena, shape, stored->data);
}

static Tensor *leaf(const char *name, const char *what) {
    Tensor *tensor = part(name, what);
    tensor->needs_grad = true;
    tensor_grad(arena, tensor);
    return tensor;
}

static void compare(const char *name, const char *what, const float *got, double tolerance) {
    const Tensor *want = part(name, what);
    for (size_t i = 0; i < want->count; i++) {
        double w = (double)want->data[i];
        if (!(fabs((double)got[i] - w) <= tolerance * (1 + fabs(w))))
            fail_msg("%s/%s[%zu] is %.9g, PyTorch says %.9g", name, what, i, (double)got[i], w);
    }
}

/* The test's own op: the loss sum(weights * y). */
static void loss_backward(const Entry *entry) {
    const Tensor *weights = entry->saved;
    for (size_t i = 0; i < weights->count; i++)
        entry->in[0]->grad[i] += weights->data[i] * entry->out->grad[0];
}
static const Op loss_op = {.name = "loss", .backward = loss_backward};

static void backward_from(Tensor *y, Tensor *weights) {
    assert_int_equal(y->count, weights->count);
    Tensor *loss = tape_tensor(tape, (Shape){0});
    loss->data[0] = 0;
    tape_record(tape, &loss_op, loss, 1, &y, weights);
    tape_backward(tape, loss);
}

static QParams golden_grid(const char *name, const Tensor *scale) {
    const Tensor *ends = part(name, "ends");
    QParams q = {.channels = (int)scale->count, .scale = scale->data};
    q.zero_point = arena_zeros(arena, sizeof *q.zero_point * scale->count);
    q.qmin = (int32_t)ends->data[0];
    q.qmax = (int32_t)ends->data[1];
    return q;
}

/* ---- learned ranges ---- */

/* Float32 against double: sums of at most 80 terms of order 1, each rounded a few times by 2^-24.
 */
static const double EXACT = 1e-5;

static void lsq_is_pytorchs(void **state) {
    (void)state;
    static const char *const cases[] = {"relu4", "affine3", "weight2", "weight8"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int ste = 0; ste_names[ste]; ste++) {
            const char *name = arena_text(arena, "lsq.%s.%s", cases[i], ste_names[ste]);
            Tensor *x = leaf(name, "x"), *scale = leaf(name, "scale");
            QParams q = golden_grid(name, scale);
            for (int c = 0; c < q.channels; c++)
                q.zero_point[c] = (int32_t)part(name, "zero")->data[c];
            Tensor *y = op_fakequant_learned(tape, x, &q, (Ste)ste, scale,
                                             &learn_find("lsq")->gradient, x->count / scale->count);
            backward_from(y, part(name, "weights"));
            compare(name, "y", y->data, EXACT);
            compare(name, "dx", x->grad, EXACT);
            compare(name, "dscale", scale->grad, EXACT);
            tape_reset(tape);
        }
}

/* The parameter is S = alpha / reach, and its gradient that of alpha divided by reach: see
 * quant/learn.c. The case holds an x equal to alpha. */
static void pact_is_pytorchs(void **state) {
    (void)state;
    Tensor *x = leaf("pact", "x"), *alpha = part("pact", "alpha"),
           *scale = tensor_new(arena, SHAPE(1));
    float reach = part("pact", "ends")->data[1];
    scale->needs_grad = true;
    scale->data[0] = alpha->data[0] / reach;
    tensor_grad(arena, scale);
    QParams q = golden_grid("pact", scale);
    assert_float_equal(learn_find("pact")->gradient.decay, part("pact", "decay")->data[0], 0);
    Tensor *y =
        op_fakequant_learned(tape, x, &q, STE_CLIP, scale, &learn_find("pact")->gradient, x->count);
    backward_from(y, part("pact", "weights"));
    compare("pact", "y", y->data, EXACT);
    compare("pact", "dx", x->grad, EXACT);
    compare("pact", "dalpha", &(float){scale->grad[0] * reach}, EXACT);
}

/* Where the grid had to take a larger scale than the learned one, that one has no part in the loss.
 */
static void a_floored_scale_has_no_gradient(void **state) {
    (void)state;
    Tensor *x = leaf("lsq.weight2.code", "x"), *scale = leaf("lsq.weight2.code", "scale");
    QParams q = golden_grid("lsq.weight2.code", scale);
    q.scale = tensor_copy(arena, scale->shape, scale->data)->data;
    q.scale[1] *= 2;
    Tensor *y =
        op_fakequant_learned(tape, x, &q, STE_CODE, scale, &learn_find("lsq")->gradient, 25);
    backward_from(y, part("lsq.weight2.code", "weights"));
    assert_true(scale->grad[0] != 0 && scale->grad[2] != 0);
    assert_true(scale->grad[1] == 0);
}

/* ---- nets ---- */

static Graph *parse(const char *text) {
    Error error = {0};
    Graph *graph = graph_parse(text, strlen(text), "test", &error);
    if (!graph) fail_msg("%s", error.message);
    return graph;
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

static void clear_gradients(const Graph *graph) {
    for (int i = 0; i < graph->nodes; i++)
        for (int k = 0; k < graph->node[i].params; k++) {
            Tensor *t = graph->node[i].param[k].tensor;
            if (!graph->node[i].param[k].trainable) continue;
            if (!t->grad) tensor_grad(graph->arena, t);
            memset(t->grad, 0, sizeof(float) * t->count);
        }
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
    clear_gradients(graph);
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
    if (!quant_freeze(net, &error)) fail_msg("%s", error.message);
    Program *program = program_build(net, &pixels, &error);
    if (!program) fail_msg("%s", error.message);
    quant_exact(net);
    size_t bytes = shape_count(&net->graph->node[0].shape), plane = bytes / 2;
    uint8_t *data = arena_alloc(arena, IMAGES * bytes);
    float *x = arena_alloc(arena, IMAGES * bytes * sizeof *x);
    for (size_t i = 0; i < IMAGES * bytes; i++) {
        size_t c = i % bytes / plane;
        data[i] = (uint8_t)rng_below(rng, 256);
        x[i] = normalize_byte(data[i], pixels.mean[c], pixels.std[c]);
    }
    Comparison *comparison = arena_alloc(arena, sizeof *comparison);
    compare_start(comparison, net, program);
    void *scratch = arena_alloc(arena, program_scratch(program, IMAGES));
    Tape *calm = tape_new(false);
    assert_true(compare_images(comparison, calm, IMAGES, x, data, scratch, &error));
    ValueComparison total = compare_total(comparison);
    assert_true(total.codes > 0);
    assert_int_equal(total.mismatched, 0);
    tape_free(calm);
    program_free(program);
    quant_simulate(net);
}

/* ---- modes of batch normalisation ---- */

static const char conv_net[] =
    "x = input shape=2x6x6\nconv = conv2d x out=4 kernel=3\nbn = batchnorm conv\n";

/* The golden convolution's values in a graph, its weights to be rounded to 4 bits. */
static QNode *golden_conv(const char *name, Graph **graph) {
    Error error = {0};
    *graph = parse(conv_net);
    QuantConfig config = quant_config_default();
    config.weight.bits = 4;
    QuantNet *net = quant_prepare(*graph, &config, &error);
    assert_non_null(net);
    Node *conv = graph_find(*graph, "conv"), *bn = graph_find(*graph, "bn");
    const struct {
        Node *node;
        const char *param, *part;
    } all[] = {{conv, "weight", "weight"},   {conv, "bias", "bias"},
               {bn, "weight", "gamma"},      {bn, "bias", "beta"},
               {bn, "running_mean", "mean"}, {bn, "running_var", "var"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        Tensor *tensor = node_tensor(all[i].node, all[i].param);
        memcpy(tensor->data, part(name, all[i].part)->data, tensor->count * sizeof(float));
    }
    clear_gradients(*graph);
    quant_fake(net, true);
    net->node[0].out->q.scale[0] = 1.0f / 64; /* the golden's sx; only `batch` rounds its bias */
    return conv->quant;
}

/* PyTorch's module computes in float32 too: its sums of 18 to 48 products and of 48 values differ
 * from ours by their order. dgamma of `running` divides by s, as small as 0.05. */
static const double SAME = 2e-4;

static void mode_is_pytorchs(const char *name) {
    Graph *graph;
    QNode *q = golden_conv(name, &graph);
    Tensor *x = leaf(name, "x");
    Tensor *y = bn_mode_find(name)->simulate(&(Run){.tape = tape, .training = true}, q, x);
    compare(name, "y", y->data, SAME);
    backward_from(y, part(name, "weights"));
    compare(name, "dx", x->grad, SAME);
    compare(name, "dweight", node_tensor(q->node, "weight")->grad, SAME);
    compare(name, "dbias", node_tensor(q->node, "bias")->grad, SAME);
    compare(name, "dgamma", node_tensor(q->batchnorm, "weight")->grad, SAME);
    compare(name, "dbeta", node_tensor(q->batchnorm, "bias")->grad, SAME);
    compare(name, "mean_after", node_tensor(q->batchnorm, "running_mean")->data, SAME);
    compare(name, "var_after", node_tensor(q->batchnorm, "running_var")->data, SAME);
    assert_true(node_tensor(q->batchnorm, "num_batches_tracked")->data[0] == 1);
    graph_free(graph);
}

static void running_is_pytorchs(void **state) {
    (void)state;
    mode_is_pytorchs("running");
}

static void batch_is_a_fold_of_its_statistics(void **state) {
    (void)state;
    mode_is_pytorchs("batch");
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
static QuantNet *random_net(Rng *rng, int bits, int weight_bits, bool per_channel) {
    Error error = {0};
    Graph *graph = parse(whole_net);
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
    QuantNet *net = quant_prepare(graph, &config, &error);
    if (!net) fail_msg("%s", error.message);
    return net;
}

static void net_free(QuantNet *net) {
    Graph *graph = net->graph;
    quant_release(net);
    graph_free(graph);
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
                QuantNet *net = random_net(&rng, 4, 4, mode != 1);
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
                net_free(net);
            }
}

/* With gamma = 0 the result is beta, whatever the weights: and gamma has the gradient that lets it
 * live again. */
static void a_dead_gamma_can_live_again(void **state) {
    (void)state;
    Graph *graph;
    QNode *q = golden_conv("running", &graph);
    Tensor *gamma = node_tensor(q->batchnorm, "weight"), *beta = node_tensor(q->batchnorm, "bias");
    gamma->data[1] = 0;
    Tensor *y = bn_mode_find("running")->simulate(&(Run){.tape = tape, .training = true}, q,
                                                  leaf("running", "x"));
    for (int n = 0; n < 3; n++)
        for (int i = 0; i < 16; i++) assert_true(y->data[(n * 4 + 1) * 16 + i] == beta->data[1]);
    backward_from(y, part("running", "weights"));
    /* gamma / running deviation cancels in u, so that channel normalises as before, up to its
     * rounding to 4 bits: the golden's dgamma without the share that reached it through s */
    assert_true(fabsf(gamma->grad[1]) > 0.1f);
    /* and its statistics moved like PyTorch's, which saw gamma = -0.7: half a step of 1/14 of the
     * largest weight apart */
    assert_float_equal(node_tensor(q->batchnorm, "running_var")->data[1],
                       part("running", "var_after")->data[1], 0.02f);
    graph_free(graph);
}

/* While the running statistics are the batch's, running and frozen compute the same, but for the
 * rounding of the bias. */
static void running_ends_in_frozen(void **state) {
    (void)state;
    Graph *graph;
    QNode *q = golden_conv("running", &graph);
    Tensor *x = part("running", "x"), *mean = node_tensor(q->batchnorm, "running_mean"),
           *var = node_tensor(q->batchnorm, "running_var");
    q->in[0]->q.scale[0] = 1e-4f; /* a fine bias */
    Run run = {.tape = tape, .training = true};
    for (int i = 0; i < 300; i++) { /* 0.9^300 = 2e-14 of where they began */
        tape_reset(tape);
        bn_mode_find("running")->simulate(&run, q, x);
    }
    float m[4], v[4];
    for (int c = 0; c < 4; c++) {
        m[c] = mean->data[c];
        v[c] = var->data[c] *= 47.0f / 48; /* of 48 values: what normalises is the biased one */
    }
    Tensor *moving = bn_mode_find("running")->simulate(&run, q, x);
    memcpy(mean->data, m, sizeof m);
    memcpy(var->data, v, sizeof v);
    Tensor *still = bn_mode_find("frozen")->simulate(&run, q, x);
    /* half a step of the bias, 1e-4 S_w, and float32's roundings of statistics in 300 steps */
    for (size_t i = 0; i < still->count; i++)
        assert_float_equal(moving->data[i], still->data[i], 1e-4f);
    graph_free(graph);
}

static void unfold_has_its_gradient(void **state) {
    (void)state;
    Error error = {0};
    if (!gradcheck(&unfold_op, 1, &error)) fail_msg("%s", error.message);
}

/* ---- learned ranges in a net ---- */

static void every_width_freezes_exactly(void **state) {
    (void)state;
    Rng rng = rng_stream(2, RNG_TEST, 0);
    for (int bits = 2; bits <= 8; bits++)
        for (int learn = 0; learn_name(learn); learn++) {
            QuantNet *net = random_net(&rng, bits, 10 - bits, bits % 2);
            Tensor *images = random_images(&rng);
            calibrate(net, images);
            quant_learn(net, &learn_list[learn]);
            quant_learn_start(net);
            for (int step = 0; step < 3; step++) train_step(net, images, 0.05f);
            engines_agree(net, &rng);
            net_free(net);
        }
}

/* lsq: freezing takes the learned scales of weights and values, to the bit; only a channel whose
 * bias would not fit keeps N3's floor, the same while training. */
static void freezing_takes_the_learned_scale(void **state) {
    (void)state;
    Rng rng = rng_stream(3, RNG_TEST, 0);
    Error error = {0};
    QuantNet *net = random_net(&rng, 4, 3, true);
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
    net_free(net);
}

/* What learns what: lsq all but the input, pact the values alone; "none" nothing. */
static void ways_to_learn(void **state) {
    (void)state;
    static const int parameters[] = {0, 6, 3}; /* none, lsq, pact: of 3 weighted layers */
    for (int learn = 0; learn_name(learn); learn++) {
        Rng rng = rng_stream(4, RNG_TEST, 0);
        QuantNet *net = random_net(&rng, 4, 4, true);
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
        net_free(net);
    }
}

/* A rate that would throw scales anywhere: a step halves or doubles them at most. */
static void scales_stay_scales(void **state) {
    (void)state;
    Rng rng = rng_stream(5, RNG_TEST, 0);
    QuantNet *net = random_net(&rng, 2, 2, true);
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
    net_free(net);
}

/* Each value's own switches: observing moves its range, faking rounds it; both off, it is float. */
static void switches_of_one_value(void **state) {
    (void)state;
    Rng rng = rng_stream(6, RNG_TEST, 0);
    QuantNet *net = random_net(&rng, 2, 8, true);
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
    net_free(net);
}

int main(void) {
#define IN_ARENA(function) cmocka_unit_test_setup_teardown(function, start, stop)
    const struct CMUnitTest tests[] = {
        IN_ARENA(lsq_is_pytorchs),
        IN_ARENA(pact_is_pytorchs),
        IN_ARENA(a_floored_scale_has_no_gradient),
        IN_ARENA(running_is_pytorchs),
        IN_ARENA(batch_is_a_fold_of_its_statistics),
        IN_ARENA(nothing_divides_by_zero),
        IN_ARENA(a_dead_gamma_can_live_again),
        IN_ARENA(running_ends_in_frozen),
        IN_ARENA(unfold_has_its_gradient),
        IN_ARENA(every_width_freezes_exactly),
        IN_ARENA(freezing_takes_the_learned_scale),
        IN_ARENA(ways_to_learn),
        IN_ARENA(scales_stay_scales),
        IN_ARENA(switches_of_one_value),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
