#include "tests/quantized.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "tests/random_net.h"

Graph *quantized_graph(const char *text) {
    Error error = {0};
    Graph *graph = graph_parse(text, strlen(text), "test", &error);
    if (!graph) fail_msg("%s", error.message);
    graph_init(graph, 3);
    return graph;
}

QuantNet *quantized_with(Graph *graph, const QuantConfig *config) {
    Error error = {0};
    QuantNet *net = quant_prepare(graph, config, &error);
    if (!net) fail_msg("%s", error.message);
    return net;
}

QuantNet *quantized_net(const char *text) {
    QuantConfig config = quant_config_default();
    return quantized_with(quantized_graph(text), &config);
}

void quantized_free(QuantNet *net) {
    Graph *graph = net->graph;
    quant_release(net);
    graph_free(graph);
}

const QNode *quantized_node(const QuantNet *net, const char *name) {
    const Node *node = graph_find(net->graph, name);
    assert_non_null(node);
    return &net->node[node->index];
}

void quantized_ranges(QuantNet *net, float lo, float hi) {
    for (int i = 0; i < net->quantizers; i++) {
        net->quantizer[i]->method = method_find("minmax");
        net->quantizer[i]->seen.min = lo;
        net->quantizer[i]->seen.max = hi;
        quantizer_update(net->quantizer[i]);
    }
}

void quantized_calibrate(QuantNet *net) {
    Rng rng = rng_stream(1, RNG_TEST, 0);
    Arena *arena = arena_new();
    size_t count = shape_count(&net->graph->node[0].shape);
    float *x = arena_alloc(arena, QUANTIZED_SAMPLES * count * sizeof *x);
    for (size_t i = 0; i < QUANTIZED_SAMPLES * count; i++) x[i] = rng_normal(&rng);
    calibrate_on(net, QUANTIZED_SAMPLES, x);
    arena_free(arena);
}
