/* Between two weighted layers lies f: a batchnorm, which the first absorbs, then only what commutes
 * with a positive scale of each channel: f(s x) = s f(x). Then for any s > 0, channel by channel,
 *
 *   W2 f(W1 x + b1) = (W2 s) f((W1 x + b1) / s)
 *
 * and s = sqrt(r1 / r2), of the largest magnitudes r1 in the channel's row of W1 and r2 in its
 * columns of W2, makes both sqrt(r1 r2). Each pair disturbs its neighbours: all are done again
 * until none moves. */
#include "quant/ptq/equalize.h"

#include <math.h>
#include <string.h>

#include "quant/fold.h"
#include "quant/outputs_first.h"
#include "quant/rule.h"

enum { SWEEPS_MOST = 100 };
/* A channel this far below the largest of its layer is dead, or next to it: what it carries is its
 * bias, and to scale that up would stretch the range of all others. */
static const float DEAD = 1e-3f;
static const float SETTLED = 1e-3f; /* all scales this near to 1: done */

typedef struct Pair {
    Node *first, *batchnorm /* NULL: none */, *second;
    int channels;     /* outputs of the first */
    float *one, *two; /* [channels]: r1 and r2 */
} Pair;

static bool commutes_with_scales(const Node *node) {
    bool relu = node && node->layer->clamp[0] == 0 && isinf(node->layer->clamp[1]);
    return relu || node_has_rule(node, "share") || node_has_rule(node, "mean");
}

/* The pair that begins at `first`; false: there is none. */
static bool find_pair(Graph *graph, Node *first, Pair *pair) {
    if (!node_has_rule(first, "weighted")) return false;
    *pair = (Pair){.first = first, .channels = node_layout(first).outputs};
    Node *node = graph_only_reader(graph, first->index);
    if (node_has_rule(node, "fold")) {
        pair->batchnorm = node;
        node = graph_only_reader(graph, node->index);
    }
    for (; commutes_with_scales(node); node = graph_only_reader(graph, node->index))
        if (node->shape.dim[0] % pair->channels) return false; /* a reshape has mixed channels */
    pair->second = node;
    return node_has_rule(node, "weighted");
}

/* Visits every weight of the second layer with the first's channel that it meets. Convolutions see
 * the channels of their group; behind a flatten each channel is a run of inputs. */
static void columns(const Graph *graph, const Pair *pair,
                    void (*visit)(float *weight, float *of_channel), float of_channels[]) {
    const Node *second = pair->second;
    WeightLayout layout = node_layout(second);
    Tensor *weight = node_tensor(second, "weight");
    int places = 1; /* of the kernel */
    for (int d = 2; d < weight->shape.rank; d++) places *= weight->shape.dim[d];
    int depth = layout.runs * layout.run, inputs = graph->node[second->in[0]].shape.dim[0];
    int group_inputs = depth / places, groups = inputs / group_inputs,
        run = inputs / pair->channels;
    for (int o = 0; o < layout.outputs; o++) {
        int begin = o / (layout.outputs / groups) * group_inputs;
        for (int k = 0; k < depth; k++)
            visit(&weight->data[weight_index(&layout, o, k)],
                  &of_channels[(begin + k / places) / run]);
    }
}

static void take_largest(float *weight, float *range) {
    *range = fmaxf(*range, fabsf(*weight));
}
static void multiply(float *weight, float *scale) {
    *weight *= *scale;
}

/* r1, of the weights with the batchnorm folded in, and r2. */
static void measure(const Graph *graph, Pair *pair, Arena *arena) {
    Tape tape = {.arena = arena};
    Tensor *weight = op_outputs_first(&tape, node_tensor(pair->first, "weight"), pair->first);
    if (pair->batchnorm) weight = op_fold_weight(&tape, weight, pair->batchnorm);
    size_t depth = weight->count / (size_t)pair->channels;
    size_t bytes = (size_t)pair->channels * sizeof(float);
    pair->one = arena_zeros(arena, bytes);
    pair->two = arena_zeros(arena, bytes);
    for (size_t i = 0; i < weight->count; i++)
        take_largest(&weight->data[i], &pair->one[i / depth]);
    columns(graph, pair, take_largest, pair->two);
}

static float largest(const float *x, int count) {
    float most = 0;
    for (int i = 0; i < count; i++) most = fmaxf(most, x[i]);
    return most;
}

/* s of each channel, 1 where it is left alone. Returns the largest |s - 1|. */
static float choose_scales(const Pair *pair, float scale[]) {
    float least1 = DEAD * largest(pair->one, pair->channels),
          least2 = DEAD * largest(pair->two, pair->channels);
    float most = 0;
    for (int c = 0; c < pair->channels; c++) {
        float s = sqrtf(pair->one[c]) / sqrtf(pair->two[c]);
        bool alive = pair->one[c] > least1 && pair->two[c] > least2 && isnormal(s);
        scale[c] = alive ? s : 1;
        most = fmaxf(most, fabsf(scale[c] - 1));
    }
    return most;
}

static void divide(Tensor *t, const float scale[]) {
    for (size_t c = 0; t && c < t->count; c++) t->data[c] /= scale[c];
}

/* The first layer's result divided by s: in the batchnorm, if there is one, whose statistics then
 * stay true. */
static void divide_first(const Pair *pair, const float scale[]) {
    if (pair->batchnorm) {
        divide(node_tensor(pair->batchnorm, "weight"), scale);
        divide(node_tensor(pair->batchnorm, "bias"), scale);
        return;
    }
    WeightLayout layout = node_layout(pair->first);
    Tensor *weight = node_tensor(pair->first, "weight");
    for (int o = 0; o < layout.outputs; o++)
        for (int k = 0; k < layout.runs * layout.run; k++)
            weight->data[weight_index(&layout, o, k)] /= scale[o];
    divide(node_tensor(pair->first, "bias"), scale);
}

int quant_equalize(Graph *graph) {
    Arena *arena = arena_new();
    int pairs = 0;
    float moved = 1;
    for (int sweep = 0; sweep < SWEEPS_MOST && moved > SETTLED; sweep++) {
        moved = 0;
        pairs = 0;
        for (int i = 0; i < graph->nodes; i++) {
            Pair pair;
            if (!find_pair(graph, &graph->node[i], &pair)) continue;
            arena_reset(arena);
            measure(graph, &pair, arena);
            float *scale = arena_alloc(arena, sizeof *scale * (size_t)pair.channels);
            moved = fmaxf(moved, choose_scales(&pair, scale));
            divide_first(&pair, scale);
            columns(graph, &pair, multiply, scale);
            pairs++;
        }
    }
    arena_free(arena);
    return pairs;
}
