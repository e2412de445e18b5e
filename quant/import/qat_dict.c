/* The state_dict of a net that PyTorch prepared for quantization-aware training (torch.ao, eager,
 * prepare_qat): the arrays of the float net, and of what rounds:
 *
 *   conv1.weight_fake_quant.scale, .zero_point             of the weights, one or one an output
 *   conv1.activation_post_process.scale, .zero_point       of the module's value
 *   quant.activation_post_process.scale, .zero_point       of the input: no node has the stub's
 * name conv1.bn.weight, ...                                   a batchnorm fused into its
 * convolution
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
        const char *inside = arena_text(arena, "%s.bn.", q->node->name);
        if (q->batchnorm && strncmp(name, inside, strlen(inside)) == 0)
            return arena_text(arena, "%s.%s", q->batchnorm->name, name + strlen(inside));
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

static bool find_weights(const SafeFile *file, const Node *node, Arena *arena, Given *given,
                         Error *error) {
    const char *base = arena_text(arena, "%s" WEIGHT, node->name);
    Steps steps;
    if (!safetensors_find(file, arena_text(arena, "%sscale", base))) return true;
    if (!node_tensor(node, "weight"))
        return error_set(error, ERROR_INPUT, "%.200sscale: that node has no weights", base);
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

bool qat_dict_grids(const SafeFile *file, const QuantNet *net, Arena *arena, Given *given,
                    Error *error) {
    Graph *graph = net->graph;
    *given = (Given){0};
    if (!find_values(file, graph, arena, given, error)) return false;
    for (int i = 0; i < graph->nodes; i++)
        if (!find_weights(file, &graph->node[i], arena, given, error)) return false;
    pass_to_means(net, given);
    return true;
}
