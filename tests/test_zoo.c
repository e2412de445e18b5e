/* The nets that have a name, and nets from files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "nn/zoo.h"
#include "quant/quantnet.h"
#include "tests/reference.h"
#include "tests/scratch.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void test_zoo(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t least, most; /* parameters; sums of weights and biases, layer by layer */
    } sizes[] = {
        {"mlp", 101770, 101770},    /* 784 128 + 128 + 128 10 + 10 */
        {"lenet5", 61706, 61706},   /* 156 + 2416 + 48120 + 10164 + 850 */
        {"netbn", 25010, 25010},    /* 400 + 80 + 14440 + 80 + 10010 */
        {"resnet8", 70000, 100000}, /* beside netbn it must stay small */
        {"lstm", 82186, 82186},     /* 512 (28 + 128) + 2 512 + 1290 */
    };
    for (size_t i = 0; i < COUNT(sizes); i++) assert_non_null(zoo_find(sizes[i].name));
    for (const ZooNet *net = zoo_list; net->name; net++) {
        Error error = {0};
        assert_true(*net->summary);
        assert_ptr_equal(zoo_find(net->name), net);
        Graph *graph = zoo_open(net->name, &error);
        if (!graph) fail_msg("%s", error.message);
        assert_string_equal(graph->name, net->name);
        assert_true(shape_equal(&graph->node[0].shape, &SHAPE(1, 28, 28)));
        assert_true(shape_equal(&graph_output(graph)->shape, &SHAPE(10)));
        for (size_t i = 0; i < COUNT(sizes); i++)
            if (strcmp(net->name, sizes[i].name) == 0)
                assert_in_range(graph_parameters(graph), sizes[i].least, sizes[i].most);
        graph_init(graph, 6);
        Tape *tape = tape_new(false);
        Rng rng = rng_stream(6, RNG_TEST, 0);
        Tensor *x = tape_tensor(tape, SHAPE(2, 1, 28, 28));
        for (size_t i = 0; i < x->count; i++) x->data[i] = rng_normal(&rng);
        Tensor *y = graph_forward(graph, &(Run){.tape = tape}, x, NULL);
        assert_true(floats_finite(y->data, y->count));
        assert_true(memcmp(y->data, y->data + 10, sizeof(float[10])) != 0);
        tape_free(tape);
        QuantConfig config = quant_config_default();
        if (!quant_prepare(graph, &config, &error)) fail_msg("%s", error.message);
        graph_free(graph);
    }
}

static size_t work_of(const char *text, bool training) {
    Error error = {0};
    Graph *graph = graph_parse(text, strlen(text), "test", &error);
    if (!graph) fail_msg("%s", error.message);
    size_t count = graph_multiply_adds(graph, training);
    graph_free(graph);
    return count;
}

/* Counted by hand, layer by layer; back, what no gradient is wanted of does not count. */
static void test_multiply_adds(void **state) {
    (void)state;
    enum { CONV1 = 26 * 26 * 40 * 9, CONV2 = 11 * 11 * 40 * 40 * 9, FC = 1000 * 10 };
    const char *netbn = zoo_find("netbn")->text;
    assert_int_equal(work_of(netbn, false), CONV1 + CONV2 + FC);
    assert_int_equal(work_of(netbn, true), 2 * CONV1 + 3 * CONV2 + 3 * FC);
    /* groups, a stride, padding that counts; then 5 x 5 positions of 4 channels into 6 by 2 x 2 */
    assert_int_equal(work_of("x = input shape=4x10x10\n"
                             "a = conv2d x out=8 kernel=3 stride=2 padding=1 groups=4\n"
                             "b = conv_transpose2d a out=6 kernel=2 stride=2\n",
                             false),
                     5 * 5 * 8 * 9 + 5 * 5 * 8 * 6 * 4);
    /* 28 steps of four gates, each of 28 features and 128 states */
    assert_int_equal(work_of(zoo_find("lstm")->text, false), 28 * 512 * (28 + 128) + 128 * 10);
    /* a batchnorm in front is trained too */
    assert_int_equal(work_of("x = input shape=3\nn = batchnorm x\ny = linear n out=5\n", true),
                     3 * 15);
}

static Error open_failure(const char *name) {
    Error error = {0};
    assert_null(zoo_open(name, &error));
    return error;
}

static void test_zoo_open(void **state) {
    (void)state;
    Error error = open_failure("resnet9");
    assert_error(&error, ERROR_USAGE, "unknown model 'resnet9', did you mean 'resnet8'?");
    error = open_failure("qqqqqqqq");
    assert_error(&error, ERROR_USAGE, "known are mlp lenet5");
    error = open_failure(scratch_path("none.net"));
    assert_error(&error, ERROR_IO, "none.net");
    scratch_text("good.net", "x = input shape=4\nr = relu x\n");
    Graph *graph = zoo_open(scratch_path("good.net"), NULL);
    assert_non_null(graph);
    assert_memory_equal(graph->name, "good", 4);
    graph_free(graph);
    scratch_text("bad.net", "x = input shape=4\nr = relu x\nq = rellu r\n");
    error = open_failure(scratch_path("bad.net"));
    assert_error(&error, ERROR_INPUT, "/bad.net:3:5: unknown layer 'rellu', did you mean 'relu'?");

    /* what is not printable ASCII cannot be cut inside a letter, nor reach a terminal */
    char name[2 * 40 + 1] = "", cut[NODE_NAME] = "";
    for (int i = 0; i < 40; i++) strcat(name, "\xc3\xa9");
    memset(cut, '?', NODE_NAME - 1);
    graph = graph_new(name);
    assert_string_equal(graph->name, cut);
    graph_free(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zoo),
        cmocka_unit_test(test_multiply_adds),
        cmocka_unit_test_setup_teardown(test_zoo_open, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, stop_pool);
}
