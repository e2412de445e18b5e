#include "quant/compare.h"

#include <stdlib.h>
#include <string.h>

void compare_start(Comparison *comparison, const QuantNet *net, const Program *program) {
    memset(comparison, 0, sizeof *comparison);
    comparison->net = net;
    comparison->program = program;
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

    int count = (int)(logits->count / (size_t)samples);
    for (int n = 0; n < samples; n++) {
        size_t row = (size_t)n * (size_t)count;
        comparison->argmax_differs +=
            argmax(logits->data + row, count) != argmax(outputs + row, count);
    }
    comparison->images += samples;
    return true;
}

ValueComparison compare_total(const Comparison *comparison) {
    ValueComparison total = {.name = "all"};
    for (int v = 0; v < comparison->program->values; v++) {
        const ValueComparison *value = &comparison->value[v];
        total.codes += value->codes;
        total.mismatched += value->mismatched;
        if (value->max_difference > total.max_difference)
            total.max_difference = value->max_difference;
    }
    return total;
}
