/* Convolutions of all ranks as layers: what their texts say, the sizes that follow, what is
 * refused, and the weights that they begin with. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "nn/graph.h"

static Graph *parse(const char *text) {
    Error error = {0};
    Graph *graph = graph_parse(text, strlen(text), "test", &error);
    if (!graph) fail_msg("%s", error.message);
    return graph;
}

static void test_sizes(void **state) {
    (void)state;
    static const struct {
        const char *input, *layer, *shape, *weight;
    } nets[] = {
        {"1x784", "conv1d x out=3 kernel=5 stride=2", "3x390", "3x1x5"},
        {"4x3x5x6", "conv3d x out=6 kernel=2x3x4 groups=2", "6x2x3x3", "6x2x2x3x4"},
        {"4x10", "conv_transpose1d x out=6 kernel=4 stride=3 padding=1 output_padding=2 groups=2",
         "6x31", "4x3x4"},
        {"2x3x4", "conv_transpose2d x out=5 kernel=2 stride=2", "5x6x8", "2x5x2x2"},
        {"2x3x4", "conv_transpose2d x out=5 kernel=2 output_padding=2x1 dilation=3", "5x8x8",
         "2x5x2x2"},
        {"2x2x3x4", "conv_transpose3d x out=1 kernel=3x2x1 stride=1x2x3", "1x4x6x10", "2x1x3x2x1"},
    };
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        char text[256], shape[SHAPE_TEXT];
        snprintf(text, sizeof text, "x = input shape=%s\ny = %s\n", nets[i].input, nets[i].layer);
        Graph *graph = parse(text);
        const Node *y = graph_output(graph);
        assert_string_equal(shape_text(&y->shape, shape), nets[i].shape);
        assert_string_equal(shape_text(&node_tensor(y, "weight")->shape, shape), nets[i].weight);
        Arena *arena = arena_new();
        const char *printed = strstr(graph_text(graph, arena), nets[i].layer);
        assert_non_null(printed); /* every field that is no default, in the order of the table */
        arena_free(arena);
        graph_free(graph);
    }
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *input, *layer, *message;
    } nets[] = {
        {"1x28x28", "conv1d x out=3 kernel=5", "needs 1 spatial"},
        {"1x784", "conv_transpose2d x out=3 kernel=5", "needs 2 spatial"},
        {"1x9", "conv_transpose1d x out=3 kernel=5 stride=2 output_padding=2", "output_padding=2"},
        {"1x9x9", "conv_transpose2d x out=3 kernel=5 stride=1x2 output_padding=1",
         "output_padding=1"},
        {"3x9", "conv_transpose1d x out=4 kernel=5 groups=2", "groups=2"},
        {"4x9", "conv_transpose1d x out=3 kernel=5 groups=2", "groups=2"},
        {"1x2", "conv_transpose1d x out=3 kernel=1 padding=1", "size of 0"},
        {"1x1000000", "conv_transpose1d x out=2 kernel=1 stride=255", "at most 2^28"},
        {"60000x1x1", "conv_transpose2d x out=60000 kernel=1", "2^28"},
    };
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        char text[256];
        Error error = {0};
        snprintf(text, sizeof text, "x = input shape=%s\ny = %s\n", nets[i].input, nets[i].layer);
        assert_null(graph_parse(text, strlen(text), "test", &error));
        assert_int_equal(error.code, ERROR_INPUT);
        if (!strstr(error.message, nets[i].message)) fail_msg("%s", error.message);
    }
}

/* PyTorch's bound: 1 / sqrt(out / groups * places), for weights and biases alike. */
static void test_init(void **state) {
    (void)state;
    Graph *graph =
        parse("x = input shape=64x4x4\ny = conv_transpose2d x out=32 kernel=3 groups=2\n");
    graph_init(graph, 3);
    const Tensor *w = node_tensor(graph_output(graph), "weight"),
                 *b = node_tensor(graph_output(graph), "bias");
    float bound = 1 / sqrtf(16 * 9), most = 0;
    for (size_t i = 0; i < w->count; i++) most = fmaxf(most, fabsf(w->data[i]));
    assert_true(most <= bound && most > 0.99f * bound);
    for (size_t i = 0; i < b->count; i++)
        assert_true(fabsf(b->data[i]) <= bound && b->data[i] != 0);
    graph_free(graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_init),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
