/* The state_dict of a net that PyTorch prepared for quantization-aware training (torch.ao, eager,
 * prepare_qat): the arrays of the float net, and of what rounds:
 *
 *   of weights, one or one an output:      conv1.weight_fake_quant.scale, .zero_point
 *   of the value that a module gives:      conv1.activation_post_process.scale, .zero_point
 *   of the input, whose stub is no node:   quant.activation_post_process.scale, .zero_point
 *
 * The arrays of a batchnorm that is fused into its convolution are called conv1.bn.weight, ...
 *
 * What it observed says how many codes there are: (max - min) / scale is 255, or 127 where PyTorch
 * reduced the range. Switches and observers are left behind. */
#include "quant/import/qat_dict.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "nn/safetensors_rules.h"

#define VALUE  ".activation_post_process."
#define WEIGHT ".weight_fake_quant."
#define INSIDE ".bn."

bool qat_dict_is(const SafeFile *file) {
    bool any = false;
    for (int i = 0; i < file->count; i++)
        any |= strstr(file->tensor[i].name, WEIGHT) || strstr(file->tensor[i].name, VALUE);
    return any;
}

bool qat_dict_part(const char *name) {
    return strstr(name, WEIGHT) || strstr(name, VALUE);
}

const char *qat_dict_name(const QuantNet *net, const char *name, Arena *arena) {
    for (int i = 0; i < net->graph->nodes; i++) {
        const QNode *q = &net->node[i];
        size_t length = strlen(q->node->name);
        if (!q->batchnorm || strncmp(name, q->node->name, length) != 0) continue;
        if (strncmp(name + length, INSIDE, strlen(INSIDE)) == 0)
            return arena_text(arena, "%s.%s", q->batchnorm->name, name + length + strlen(INSIDE));
    }
    return name;
}

/* --- numbers --- */

/* The array BASE PART, count floats or whole numbers; NULL: there is none, or one of other sizes.
 */
static const void *find(const SafeFile *file, Arena *arena, const char *base, const char *part,
                        bool whole, int *count) {
    const SafeTensor *tensor = safetensors_find(file, arena_text(arena, "%s%s", base, part));
    if (!tensor || tensor->rank > 1) return NULL;
    bool i64 = tensor->dtype == DTYPE_I64, i32 = tensor->dtype == DTYPE_I32;
    if (whole ? !i64 && !i32 : tensor->dtype != DTYPE_F32) return NULL;
    *count = tensor->rank ? (int)tensor->dim[0] : 1;
    if (!i32) return tensor->data;
    int64_t *wide = arena_alloc(arena, sizeof *wide * (size_t)*count);
    for (int k = 0; k < *count; k++) wide[k] = ((const int32_t *)tensor->data)[k];
    return wide;
}

typedef struct Steps {
    int count;
    const float *scale;
    const int64_t *zero;
} Steps;

static bool find_steps(const SafeFile *file, Arena *arena, const char *base, Steps *steps,
                       Error *error) {
    int zeros = 0;
    steps->scale = find(file, arena, base, "scale", false, &steps->count);
    steps->zero = find(file, arena, base, "zero_point", true, &zeros);
    bool ok = steps->scale && steps->zero && steps->count == zeros && zeros > 0;
    for (int k = 0; ok && k < zeros; k++)
        ok = steps->scale[k] >= FLT_MIN && isfinite(steps->scale[k]) &&
             steps->zero[k] >= INT8_MIN && steps->zero[k] <= UINT8_MAX;
    return ok || error_set(error, ERROR_INPUT, "%.200sscale and zero_point are no grid", base);
}

/* --- values --- */

/* The unsigned codes of a value whose observer is in the file; 8 bits if that saw nothing. */
static int64_t most_of(const SafeFile *file, Arena *arena, const char *base, float scale) {
    int count;
    const char *seen = arena_text(arena, "%sactivation_post_process.", base);
    const float *min = find(file, arena, seen, "min_val", false, &count);
    const float *max = find(file, arena, seen, "max_val", false, &count);
    if (!min || !max || count != 1 || !(*min <= *max)) return UINT8_MAX;
    double codes = ((double)fmaxf(*max, 0) - (double)fminf(*min, 0)) / (double)scale;
    return codes > 126 && codes < 128 ? INT8_MAX : UINT8_MAX;
}

static const GivenGrid *value_grid(const SafeFile *file, Arena *arena, const char *base,
                                   Error *error) {
    Steps steps;
    if (!find_steps(file, arena, base, &steps, error)) return NULL;
    GivenGrid *grid = arena_alloc(arena, sizeof *grid);
    *grid =
        (GivenGrid){steps.scale[0], steps.zero[0], 0, most_of(file, arena, base, steps.scale[0])};
    if (steps.count == 1 && grid->zero >= 0 && grid->zero <= grid->most) return grid;
    error_set(error, ERROR_INPUT, "%.200sscale: a value has one scale and unsigned codes", base);
    return NULL;
}

/* Each value's own. That of no node is the input's: PyTorch has a stub there. */
static bool find_values(const SafeFile *file, Graph *graph, Arena *arena, Given *given,
                        Error *error) {
    for (int i = 0; i < file->count; i++) {
        const char *name = file->tensor[i].name, *at = strstr(name, VALUE "scale");
        if (!at || strstr(name, WEIGHT) || at[strlen(VALUE "scale")]) continue;
        const char *module = arena_text(arena, "%.*s", (int)(at - name), name);
        const Node *node = graph_find(graph, module);
        int index = node ? node->index : 0;
        if (given->grid[index])
            return error_set(error, ERROR_INPUT,
                             "%.200s: no node has that name, and the input has a grid already",
                             module);
        const char *base = arena_text(arena, "%s" VALUE, module);
        if (!(given->grid[index] = value_grid(file, arena, base, error))) return false;
    }
    return true;
}

/* A mean has no observer of its own in PyTorch: it keeps the grid of what it averages. */
static void pass_to_means(const QuantNet *net, Given *given) {
    const GivenGrid *of[GRAPH_MAX_NODES] = {0};
    for (int i = 0; i < net->graph->nodes; i++) {
        const QNode *q = &net->node[i];
        of[i] = given->grid[i];
        if (of[i] || !q->node->inputs) continue;
        bool mean = node_has_rule(q->node, "mean");
        if (mean || q->into || !q->rule->owns_range) of[i] = of[q->node->in[0]];
        if (mean) given->grid[i] = of[i];
    }
}

/* --- weights --- */

static bool node_weights(const SafeFile *file, const QNode *q, Arena *arena, Given *given,
                         Error *error) {
    const Node *node = q->node;
    const char *base = arena_text(arena, "%s" WEIGHT, node->name);
    Steps steps;
    if (q->into)
        return error_set(error, ERROR_INPUT,
                         "%.200s*: it is a part of %s, which has one grid for both", base,
                         q->into->name);
    if (!node_tensor(node, "weight"))
        return error_set(error, ERROR_INPUT, "%.200s*: that node has no weights", base);
    if (!find_steps(file, arena, base, &steps, error)) return false;
    int outputs = node_layout(node).outputs;
    if (steps.count != 1 && steps.count != outputs)
        return error_set(error, ERROR_INPUT, "%.200sscale: %d scales for %d outputs", base,
                         steps.count, outputs);
    GivenWeights *weights = arena_alloc(arena, sizeof *weights);
    *weights = (GivenWeights){.scales = steps.count, .full_range = true};
    float *scale = arena_alloc(arena, sizeof *scale * (size_t)outputs);
    int64_t *zero = arena_alloc(arena, sizeof *zero * (size_t)outputs);
    for (int o = 0; o < outputs; o++) {
        scale[o] = steps.scale[steps.count == 1 ? 0 : o];
        zero[o] = steps.zero[steps.count == 1 ? 0 : o];
        if (zero[o]) weights->zero = zero;
        if (zero[o] > INT8_MAX)
            return error_set(error, ERROR_INPUT, "%.200szero_point: unsigned weights", base);
    }
    weights->scale = scale;
    given->weight[node->index] = weights;
    return true;
}

/* Each array about weights is one of a node's. */
static bool find_weights(const SafeFile *file, const QuantNet *net, Arena *arena, Given *given,
                         Error *error) {
    for (int i = 0; i < file->count; i++) {
        const char *name = file->tensor[i].name, *at = strstr(name, WEIGHT);
        if (!at) continue;
        const char *module = arena_text(arena, "%.*s", (int)(at - name), name);
        const Node *node = graph_find(net->graph, module);
        if (!node)
            return error_set(error, ERROR_INPUT, "%.200s: no node is called %.200s", name, module);
        if (given->weight[node->index]) continue; /* by another of its arrays */
        if (!node_weights(file, &net->node[node->index], arena, given, error)) return false;
    }
    return true;
}

bool qat_dict_grids(const SafeFile *file, const QuantNet *net, Arena *arena, Given *given,
                    Error *error) {
    *given = (Given){0};
    if (!find_values(file, net->graph, arena, given, error) ||
        !find_weights(file, net, arena, given, error))
        return false;
    pass_to_means(net, given);
    return true;
}
