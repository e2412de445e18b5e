#include "quant/compare.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

void compare_start(Comparison *comparison, const QuantNet *net, const Program *program) {
    memset(comparison, 0, sizeof *comparison);
    comparison->net = net;
    comparison->program = program;
    comparison->values = program->values;
    for (int v = 0; v < program->values; v++) {
        const Node *node = graph_find(net->graph, program->value[v].name);
        CHECK(node, "no node %s", program->value[v].name);
        comparison->value[v].name = program->value[v].name;
        comparison->node[v] = node->index;
    }
}

typedef struct Walk {
    Comparison *comparison;
    Tensor *value[GRAPH_MAX_NODES]; /* of the exact walk, by node */
} Walk;

/* One value of the program against the graph's: bytes[n][position][channel] and
 * y[n][channel][position]. */
static void compare_value(void *context, const Value *value, int samples, const uint8_t *bytes) {
    const Walk *walk = context;
    long v = value - walk->comparison->program->value;
    ValueComparison *result = &walk->comparison->value[v];
    const float *y = walk->value[walk->comparison->node[v]]->data;
    size_t channels = (size_t)value->channels, positions = (size_t)value->positions;
    for (int n = 0; n < samples; n++, bytes += value->bytes, y += value->bytes)
        for (size_t c = 0; c < channels; c++)
            for (size_t p = 0; p < positions; p++) {
                int code = (int)round_half_even(y[c * positions + p] / value->scale) + value->zero;
                int difference = abs(code - bytes[p * channels + c]);
                result->mismatched += difference != 0;
                if (difference > result->max_difference) result->max_difference = difference;
            }
    result->codes += (int64_t)samples * (int64_t)value->bytes;
}

/* count: of the numbers of all samples. */
static void compare_predictions(Comparison *comparison, int samples, size_t count, const float *a,
                                const float *b) {
    size_t row = count / (size_t)samples;
    for (size_t i = 0; i < count; i += row)
        comparison->argmax_differs += argmax(a + i, (int)row) != argmax(b + i, (int)row);
    comparison->images += samples;
}

bool compare_images(Comparison *comparison, Tape *tape, int samples, const float *x,
                    const uint8_t *pixels, void *scratch, Error *error) {
    const Program *program = comparison->program;
    const Graph *graph = comparison->net->graph;
    Walk walk = {.comparison = comparison};
    Error value = {0};
    tape_reset(tape);
    Tensor *input = tensor_copy(tape->arena, shape_batched(&graph->node[0].shape, samples), x);
    const Tensor *logits =
        graph_forward(graph, &(Run){.tape = tape, .error = &value}, input, walk.value);
    if (value.code) return error_set(error, value.code, "%s", value.message);
    float *outputs = arena_alloc(tape->arena, logits->count * sizeof(float));
    program_run(program, samples, pixels, outputs, scratch, compare_value, &walk);

    compare_predictions(comparison, samples, logits->count, logits->data, outputs);
    return true;
}

/* --- dynamic nets --- */

void compare_start_dynamic(Comparison *comparison, const Dynamic *dynamic) {
    memset(comparison, 0, sizeof *comparison);
    comparison->values = dynamic->graph->nodes;
    for (int v = 0; v < comparison->values; v++) {
        comparison->value[v].name = dynamic->graph->node[v].name;
        comparison->node[v] = v;
    }
}

/* A float's place among all floats, from the least to the largest; both zeros are 0. */
static int64_t place_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 31 ? -(int64_t)(bits & INT32_MAX) : bits;
}

static void compare_floats(ValueComparison *result, size_t count, const float *a, const float *b) {
    for (size_t i = 0; i < count; i++) {
        int64_t difference = llabs(place_of(a[i]) - place_of(b[i]));
        result->mismatched += memcmp(&a[i], &b[i], sizeof *a) != 0;
        if (difference > result->max_difference)
            result->max_difference = difference < INT_MAX ? (int)difference : INT_MAX;
    }
    result->codes += (int64_t)count;
}

bool compare_dynamic(Comparison *comparison, Dynamic *dynamic, Tape *tape, int samples,
                     const float *x, Error *error) {
    const Graph *graph = dynamic->graph;
    Tensor *simulated[GRAPH_MAX_NODES], *value[GRAPH_MAX_NODES];
    Error bad = {0};
    Run run = {.tape = tape, .error = &bad};
    tape_reset(tape);
    Tensor *input = tensor_copy(tape->arena, shape_batched(&graph->node[0].shape, samples), x);
    dynamic_simulate(dynamic);
    const Tensor *expected = graph_forward(graph, &run, input, simulated);
    dynamic_integers(dynamic);
    const Tensor *logits = graph_forward(graph, &run, input, value);
    if (bad.code) return error_set(error, bad.code, "%s", bad.message);
    for (int v = 0; v < graph->nodes; v++)
        compare_floats(&comparison->value[v], value[v]->count, simulated[v]->data, value[v]->data);
    compare_predictions(comparison, samples, logits->count, expected->data, logits->data);
    return true;
}

ValueComparison compare_total(const Comparison *comparison) {
    ValueComparison total = {.name = "all"};
    for (int v = 0; v < comparison->values; v++) {
        const ValueComparison *value = &comparison->value[v];
        total.codes += value->codes;
        total.mismatched += value->mismatched;
        if (value->max_difference > total.max_difference)
            total.max_difference = value->max_difference;
    }
    return total;
}
