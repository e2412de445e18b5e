/* Fine-tuning against PyTorch: learned ranges and the modes of batch normalisation, each by itself
 * (tests/golden/make_qat.py explains qat.safetensors), and what the formulas say at their ends. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "quant/bn.h"
#include "quant/learn.h"
#include "tests/quantized.h"

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

/* ---- modes of batch normalisation ---- */

static const char conv_net[] =
    "x = input shape=2x6x6\nconv = conv2d x out=4 kernel=3\nbn = batchnorm conv\n";

/* The golden convolution's values in a graph, its weights to be rounded to 4 bits. */
static QNode *golden_conv(const char *name, Graph **graph) {
    Error error = {0};
    *graph = quantized_graph(conv_net);
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
    quantized_clear_gradients(*graph);
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

int main(void) {
#define IN_ARENA(function) cmocka_unit_test_setup_teardown(function, start, stop)
    const struct CMUnitTest tests[] = {
        IN_ARENA(lsq_is_pytorchs),
        IN_ARENA(pact_is_pytorchs),
        IN_ARENA(a_floored_scale_has_no_gradient),
        IN_ARENA(running_is_pytorchs),
        IN_ARENA(batch_is_a_fold_of_its_statistics),
        IN_ARENA(a_dead_gamma_can_live_again),
        IN_ARENA(running_ends_in_frozen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
