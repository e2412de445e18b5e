/* For each channel, with y the layer's float result and y~ its result with rounded weights on
 * rounded inputs:
 *
 *   b' = b - (E[y~] - E[y])
 *
 * which is exact up to the rounding of b and of b', half a step of S_x S_w each. */
#include "quant/ptq/correct.h"

#include <math.h>

static bool has_bias(const QNode *q) {
    return !q->into && q->node->layer->apply && (q->batchnorm || node_tensor(q->node, "bias"));
}

static void add_channels(const Tensor *y, double sum[]) {
    size_t channels = (size_t)y->shape.dim[1];
    size_t positions = y->count / ((size_t)y->shape.dim[0] * channels);
    for (size_t i = 0; i < y->count; i++) sum[i / positions % channels] += (double)y->data[i];
}

/* mean[k][channels] over the images for the nodes k in [first, end) that has_bias, as the net's
 * switches stand. What follows the layer itself - relu, the output's rounding - is left out:
 * rule->simulate ends before it. */
static bool channel_means(const QuantNet *net, int first, int end, ImageSource *images,
                          void *context, double *const mean[], Error *error) {
    const Graph *graph = net->graph;
    Tape *tape = tape_new(false);
    Error value = {0};
    Run run = {.tape = tape, .error = &value};
    Tensor *values[GRAPH_MAX_NODES], *x;
    double count = 0;
    for (int i = 0; !value.code && (tape_reset(tape), x = images(context, i, tape)); i++) {
        count += x->shape.dim[0];
        graph_forward(graph, &run, x, values);
        for (int k = first; k < end; k++) {
            const QNode *q = &net->node[k];
            if (has_bias(q))
                add_channels(q->rule->simulate(&run, q, &values[q->node->in[0]]), mean[k]);
        }
    }
    tape_free(tape);
    if (value.code) return error_set(error, ERROR_INPUT, "%s", value.message);
    for (int k = first; k < end; k++) {
        const Shape *shape = &graph->node[k].shape;
        double each = count * (double)shape_count(shape) / shape->dim[0];
        for (int c = 0; c < shape->dim[0]; c++) {
            mean[k][c] /= each;
            if (!isfinite(mean[k][c]))
                return error_set(error, ERROR_INPUT, "%s: a value is NaN or infinite",
                                 graph->node[k].name);
        }
    }
    return true;
}

bool quant_correct_biases(QuantNet *net, ImageSource *images, void *context, Error *error) {
    Arena *arena = arena_new();
    int nodes = net->graph->nodes;
    double *exact[GRAPH_MAX_NODES] = {0}, *rounded[GRAPH_MAX_NODES] = {0}; /* [nodes][channels] */
    for (int i = 0; i < nodes; i++) {
        size_t bytes = sizeof(double) * (size_t)net->graph->node[i].shape.dim[0];
        exact[i] = arena_zeros(arena, bytes);
        rounded[i] = arena_zeros(arena, bytes);
    }
    quant_fake(net, false);
    bool ok = channel_means(net, 0, nodes, images, context, exact, error);
    quant_fake(net, true);
    for (int i = 0; ok && i < nodes; i++) {
        const QNode *q = &net->node[i];
        if (!has_bias(q)) continue;
        ok = channel_means(net, i, i + 1, images, context, rounded, error);
        Tensor *bias = node_tensor(q->batchnorm ? q->batchnorm : q->node, "bias");
        for (size_t c = 0; ok && c < bias->count; c++)
            bias->data[c] -= (float)(rounded[i][c] - exact[i][c]);
    }
    arena_free(arena);
    return ok;
}
