#include "tests/quantized.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "quant/compare.h"
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

static void set_range(Quantizer *quantizer, float lo, float hi) {
    quantizer->method = method_find("minmax");
    quantizer->seen.min = lo;
    quantizer->seen.max = hi;
    quantizer_update(quantizer);
}

void quantized_range(const QuantNet *net, const char *name, float lo, float hi) {
    Quantizer *quantizer = quantized_node(net, name)->out;
    quantizer->seen.batches = 1;
    set_range(quantizer, lo, hi);
}

void quantized_ranges(QuantNet *net, float lo, float hi) {
    for (int i = 0; i < net->quantizers; i++) set_range(net->quantizer[i], lo, hi);
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

void quantized_clear_gradients(const Graph *graph) {
    for (int i = 0; i < graph->nodes; i++)
        for (int k = 0; k < graph->node[i].params; k++) {
            Tensor *t = graph->node[i].param[k].tensor;
            if (!graph->node[i].param[k].trainable) continue;
            if (!t->grad) tensor_grad(graph->arena, t);
            memset(t->grad, 0, sizeof(float) * t->count);
        }
}

void quantized_freeze(QuantNet *net) {
    Error error = {0};
    if (!quant_freeze(net, &error)) fail_msg("%s", error.message);
}

/* Where the codes of the output, a value of this many bytes, go. */
typedef struct Output {
    uint8_t *code;
    size_t wanted;
} Output;

static void keep_output(void *context, const Value *value, int samples, const uint8_t *bytes) {
    const Output *output = context;
    assert_int_equal(samples, 1);
    if (value->bytes != output->wanted) return; /* a value before the last */
    size_t channels = (size_t)value->channels, positions = (size_t)value->positions;
    for (size_t i = 0; i < value->bytes; i++)
        output->code[i % channels * positions + i / channels] = bytes[i];
}

void quantized_codes(QuantNet *net, const uint8_t *pixels, uint8_t *code) {
    Error error = {0};
    Normalization identity = {.channels = net->graph->node[0].shape.dim[0]};
    for (int c = 0; c < identity.channels; c++) identity.std[c] = 1;
    quantized_freeze(net);
    Program *program = program_build(net, &identity, &error);
    if (!program) fail_msg("%s", error.message);
    size_t wanted = shape_count(&graph_output(net->graph)->shape);
    float *outputs = calloc(wanted, sizeof *outputs);
    void *scratch = aligned_alloc(64, program_scratch(program, 1) / 64 * 64 + 64);
    program_run(program, 1, pixels, outputs, scratch, keep_output, &(Output){code, wanted});
    free(scratch);
    free(outputs);
    program_free(program);
}

int64_t assert_engines_agree(const char *what, QuantNet *net, const Program *program, int samples,
                             const float *x, const uint8_t *pixels) {
    Error error = {0};
    Arena *arena = arena_new();
    Tape *tape = tape_new(false);
    Comparison *comparison = arena_alloc(arena, sizeof *comparison);
    void *scratch = arena_alloc(arena, program_scratch(program, samples));
    quant_exact(net);
    compare_start(comparison, net, program);
    if (!compare_images(comparison, tape, samples, x, pixels, scratch, &error))
        fail_msg("%s: %s", what, error.message);
    ValueComparison total = compare_total(comparison);
    if (total.mismatched || comparison->argmax_differs)
        fail_msg("%s: %lld of %lld codes differ, by up to %d, and %lld predictions", what,
                 (long long)total.mismatched, (long long)total.codes, total.max_difference,
                 (long long)comparison->argmax_differs);
    assert_true(total.codes > 0);
    tape_free(tape);
    arena_free(arena);
    return total.codes;
}
