/* Mixed nets: layers that stay float, layers of more than 8 bits, layers switched off and on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "autograd/ops.h"
#include "quant/rules/integers.h"
#include "tests/configured.h"
#include "tests/scratch.h"

static void test_float_layers(void **state) {
    (void)state;
    Model *model =
        configured("{\"weight\": {\"bits\": 3}, \"overrides\": {\"c2\": null, \"fc\": null}}", 5);
    Error error = {0};
    Arena *arena = arena_new();
    assert_string_equal(quant_floats(model->quant, arena), "c2, fc");
    assert_false(qnode(model, "c2")->out->bypassed); /* the quantized sum reads it */
    assert_true(qnode(model, "fc")->out->bypassed);  /* nobody does */

    assert_false(quant_integral(model->quant, &error));
    assert_error(&error, ERROR_INPUT, "c2 stays float");
    assert_null(model_program(model, &(Error){0}));
    assert_false(model_freeze(model, &(Error){0}));
    assert_int_equal(model->stage, STAGE_CALIBRATED);

    error = (Error){0};
    assert_true(quant_freeze(model->quant, &error));
    quant_exact(model->quant);
    Tape *tape = tape_new(false);
    Tensor *value[GRAPH_MAX_NODES];
    const Tensor *y = configured_forward(model, tape, value);
    /* c2: its float convolution of the codes' reals, rounded for the sum */
    const Node *c2 = graph_find(model->graph, "c2"), *fc = graph_find(model->graph, "fc");
    const Tensor *own =
        c2->layer->apply(tape, c2, value[c2->in[0]], node_tensor(c2, "weight"), NULL);
    const Tensor *grid = op_fakequant(tape, (Tensor *)own, &qnode(model, "c2")->out->q, STE_CODE);
    assert_memory_equal(value[c2->index]->data, grid->data, grid->count * sizeof(float));
    /* fc: its float product, not rounded at all */
    own = fc->layer->apply(tape, fc, value[fc->in[0]], node_tensor(fc, "weight"),
                           node_tensor(fc, "bias"));
    assert_memory_equal(y->data, own->data, own->count * sizeof(float));
    tape_free(tape);
    arena_free(arena);
    model_free(model);
}

/* Evaluating a mixed net that is being fine-tuned moves none of its ranges. */
static void test_mixed_evaluation_observes_nothing(void **state) {
    (void)state;
    Model *model =
        configured("{\"overrides\": {\"c1\": null, \"c3\": {\"weight\": {\"bits\": 12}}}}", 6);
    Error error = {0};
    quant_track(model->quant);
    assert_true(quant_freeze(model->quant, &error));
    quant_exact(model->quant);
    Observer before = qnode(model, "c1")->out->seen;
    float scale = qnode(model, "c1")->out->q.scale[0];
    Tape *tape = tape_new(false);
    configured_forward(model, tape, NULL);
    assert_memory_equal(&before, &qnode(model, "c1")->out->seen, sizeof before);
    assert_true(scale == qnode(model, "c1")->out->q.scale[0]);
    tape_free(tape);
    model_free(model);
}

/* A float layer trains like one: its weights' gradient is the plain one, though others are rounded.
 */
static void test_float_layers_train(void **state) {
    (void)state;
    Model *model = configured("{\"overrides\": {\"fc\": null}}", 7);
    const Node *fc = graph_find(model->graph, "fc");
    Tensor *w = node_tensor(fc, "weight");
    Tape *tape = tape_new(true);
    tensor_grad(model->graph->arena, w);
    memset(w->grad, 0, w->count * sizeof(float));
    Tensor *value[GRAPH_MAX_NODES];
    Tensor *y = configured_forward(model, tape, value);
    static const int labels[CONFIGURED_IMAGES] = {0, 1, 2, 3, 0, 1};
    tape_backward(tape, op_cross_entropy(tape, y, labels));
    const Tensor *x = value[fc->in[0]];
    for (size_t o = 0; o < 4; o++)
        for (size_t k = 0; k < w->shape.dim[1] + 0u; k++) {
            double sum = 0;
            for (size_t n = 0; n < CONFIGURED_IMAGES; n++)
                sum +=
                    (double)y->grad[n * 4 + o] * (double)x->data[n * (size_t)w->shape.dim[1] + k];
            assert_true(fabs(sum - (double)w->grad[o * (size_t)w->shape.dim[1] + k]) <
                        1e-5); /* float32 sums of 6 */
        }
    tape_free(tape);
    model_free(model);
}

static void test_more_than_8_bits(void **state) {
    (void)state;
    Model *model = configured("{\"overrides\": {\"c1\": {\"weight\": {\"bits\": 16}}, \"fc\": "
                              "{\"activation\": {\"bits\": 12}}}}",
                              8);
    Error error = {0};
    assert_true(qnode(model, "c1")->simulated && qnode(model, "fc")->simulated &&
                !qnode(model, "c2")->simulated);
    assert_false(quant_integral(model->quant, &error));
    assert_error(&error, ERROR_INPUT, "c1 has more than 8 bits");
    error = (Error){0};
    assert_true(quant_freeze(model->quant, &error));
    quant_exact(model->quant);
    Tape *tape = tape_new(false);
    Tensor *value[GRAPH_MAX_NODES];
    const Tensor *y = configured_forward(model, tape, value);
    const QParams *q = &qnode(model, "fc")->out->q;
    assert_int_equal(q->qmax, 4095);
    for (size_t i = 0; i < y->count; i++)
        assert_true(y->data[i] == dequantize(q, 0, quantize(q, 0, y->data[i])));
    tape_free(tape);
    model_free(model);
}

static void test_switch(void **state) {
    (void)state;
    Model *model = configured("{}", 9);
    Error error = {0};
    Tape *tape = tape_new(false);
    float reference[CONFIGURED_IMAGES * CONFIGURED_OUTPUTS];
    assert_true(quant_freeze(model->quant, &error));
    quant_exact(model->quant);
    memcpy(reference, configured_forward(model, tape, NULL)->data, sizeof reference);
    assert_true(quant_switch(model->quant, "c1", false, &error));
    assert_true(quant_freeze(model->quant, &error));
    assert_memory_not_equal(reference, configured_forward(model, tape, NULL)->data,
                            sizeof reference);
    assert_true(quant_switch(model->quant, "c1", true, &error));
    assert_true(quant_freeze(model->quant, &error));
    assert_memory_equal(reference, configured_forward(model, tape, NULL)->data, sizeof reference);
    configured_engines_agree(model, "switched back");

    assert_false(quant_switch(model->quant, "c4", false, &error));
    assert_error(&error, ERROR_INPUT, "has no node 'c4'; did you mean c1?");
    error = (Error){0};
    assert_false(quant_switch(model->quant, "b1", false, &error));
    assert_error(&error, ERROR_INPUT, "b1: it is a part of c1");
    error = (Error){0};
    assert_false(quant_switch(model->quant, "p", false, &error));
    assert_error(&error, ERROR_INPUT, "p: maxpool layers pass on");
    tape_free(tape);
    model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float_layers),
        cmocka_unit_test(test_mixed_evaluation_observes_nothing),
        cmocka_unit_test(test_float_layers_train),
        cmocka_unit_test(test_more_than_8_bits),
        cmocka_unit_test(test_switch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
