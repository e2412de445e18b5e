/* The graph itself: nodes, parameters, the forward walk. Its text form is graph_text.c. */
#include "nn/graph.h"

#include <stdio.h>
#include <string.h>

#include "nn/nearest.h"

const Layer *layer_find(const char *name) {
    for (int i = 0; layer_list[i]; i++)
        if (strcmp(layer_list[i]->name, name) == 0) return layer_list[i];
    return NULL;
}

const Layer *layer_nearest(const char *name) {
    Nearest nearest = nearest_to(name, strlen(name));
    for (int i = 0; layer_list[i]; i++) nearest_try(&nearest, layer_list[i]->name);
    return nearest.best ? layer_find(nearest.best) : NULL;
}

Graph *graph_new(const char *name) {
    Arena *arena = arena_new();
    Graph *graph = arena_zeros(arena, sizeof *graph);
    graph->arena = arena;
    graph_rename(graph, name);
    return graph;
}

void graph_rename(Graph *graph, const char *name) {
    snprintf(graph->name, sizeof graph->name, "%s", name);
    for (char *c = graph->name; *c; c++)
        if (*c < ' ' || *c > '~') *c = '?';
}

void graph_free(Graph *graph) {
    if (graph) arena_free(graph->arena);
}

/* Parameters get their memory once the whole graph's are known to stay within the limit: a few
 * lines of text must not take all there is. */
static bool allocate_params(const Graph *graph, Node *node, Error *error) {
    size_t count = 0;
    for (int i = 0; i <= graph->nodes; i++) /* this node is the last of them */
        for (int k = 0; k < graph->node[i].params; k++)
            count += graph->node[i].param[k].tensor->count;
    if (count > GRAPH_MAX_PARAMS)
        return error_set(error, ERROR_INPUT, "a net of %zu parameters, at most 2^28", count);
    for (int k = 0; k < node->params; k++) {
        Tensor *tensor = node->param[k].tensor;
        tensor->data = arena_zeros(node->arena, size_mul(tensor->count, sizeof(float)));
    }
    return true;
}

Node *graph_add(Graph *graph, const char *name, const Layer *layer, const void *spec, int inputs,
                const int in[], Error *error) {
    const Shape *shapes[LAYER_MAX_INPUTS];
    if (graph->nodes == GRAPH_MAX_NODES) {
        error_set(error, ERROR_INPUT, "more than %d nodes", GRAPH_MAX_NODES);
        return NULL;
    }
    CHECK(inputs <= LAYER_MAX_INPUTS && strlen(name) < NODE_NAME, "node %s", name);
    Node *node = &graph->node[graph->nodes];
    *node = (Node){.index = graph->nodes,
                   .layer = layer,
                   .inputs = inputs,
                   .arena = graph->arena,
                   .forward = layer->forward};
    strcpy(node->name, name);
    node->spec = arena_zeros(graph->arena, layer->spec_size);
    if (layer->spec_size) memcpy(node->spec, spec, layer->spec_size);
    for (int i = 0; i < inputs; i++) {
        node->in[i] = in[i];
        shapes[i] = &graph->node[in[i]].shape;
        int spatial = shapes[i]->rank - 1;
        if (layer->spatial && spatial != layer->spatial) {
            char text[SHAPE_TEXT];
            error_set(error, ERROR_INPUT, "%s needs %d spatial dimensions, but %s is %s",
                      layer->name, layer->spatial, graph->node[in[i]].name,
                      shape_text(shapes[i], text));
            return NULL;
        }
    }
    if (!layer->shape(node, shapes, error)) return NULL;
    double elements = 1;
    for (int i = 0; i < node->shape.rank; i++) elements *= node->shape.dim[i];
    if (elements > 0x1p28) {
        error_set(error, ERROR_INPUT, "a result of %.0f values, at most 2^28", elements);
        return NULL;
    }
    if (!allocate_params(graph, node, error)) return NULL;
    for (int i = 0; i < inputs; i++) {
        graph->node[in[i]].readers++;
        graph->node[in[i]].reader = node->index;
    }
    graph->nodes++;
    return node;
}

void graph_drop(Graph *graph) {
    const Node *last = &graph->node[--graph->nodes];
    for (int i = 0; i < last->inputs; i++) {
        Node *input = &graph->node[last->in[i]];
        input->readers = 0;
        for (int n = 0; n < graph->nodes; n++)
            for (int k = 0; k < graph->node[n].inputs; k++)
                if (graph->node[n].in[k] == input->index) {
                    input->readers++;
                    input->reader = n;
                }
    }
}

void node_param(Node *node, const char *name, Shape shape, bool trainable) {
    CHECK(node->params < NODE_PARAMS, "%s has too many parameters", node->name);
    Tensor *tensor = arena_zeros(node->arena, sizeof *tensor);
    *tensor = (Tensor){.shape = shape, .count = shape_count(&shape), .needs_grad = trainable};
    node->param[node->params++] = (Param){
        .name = arena_text(node->arena, "%s", name), .tensor = tensor, .trainable = trainable};
}

void node_matrix(Node *node, const char *name, int outputs, int depth) {
    node_param(node, name, SHAPE(outputs, depth), true);
    node->param[node->params - 1].matrix = true;
}

static const Param *find_param(const Node *node, const char *name) {
    for (int i = 0; i < node->params; i++)
        if (strcmp(node->param[i].name, name) == 0) return &node->param[i];
    return NULL;
}

Product node_product(const Node *node, const char *weight, const char *bias) {
    const Param *matrix = find_param(node, weight);
    CHECK(matrix && matrix->matrix, "%s has no matrix %s", node->name, weight);
    return (Product){matrix->tensor, node_tensor(node, bias), matrix->by};
}

Tensor *node_tensor(const Node *node, const char *name) {
    const Param *param = find_param(node, name);
    return param ? param->tensor : NULL;
}

WeightLayout node_layout(const Node *node) {
    if (node->layer->layout) return node->layer->layout(node);
    const Tensor *weight = node_tensor(node, "weight");
    int outputs = weight->shape.dim[0];
    return (WeightLayout){.outputs = outputs,
                          .block = outputs,
                          .runs = 1,
                          .run = (int)(weight->count / (size_t)outputs)};
}

void graph_init(Graph *graph, uint64_t seed) {
    for (int i = 0; i < graph->nodes; i++) {
        Node *node = &graph->node[i];
        Rng rng = rng_stream(seed, RNG_INIT, (uint64_t)i);
        if (node->layer->init) node->layer->init(node, &rng);
    }
}

/* The inputs of a node, NULL where they are still to be computed. */
static void gather_inputs(const Node *node, Tensor *const value[], Tensor *in[]) {
    for (int k = 0; k < node->inputs; k++) in[k] = value[node->in[k]];
}

static bool is_float(const Node *node) { /* not in the hands of quant/ */
    return node->forward == node->layer->forward;
}

/* How many nodes behind node i, each the only reader of the one before, it takes as its tail; their
 * indices in taken[]. */
static int collect_tail(const Graph *graph, const Run *run, int i, Tensor *const value[],
                        Tail *tail, int taken[]) {
    int count = 0;
    for (const Node *node = &graph->node[i]; node->readers == 1; count++) {
        Tensor *in[LAYER_MAX_INPUTS];
        node = &graph->node[node->reader];
        if (!is_float(node) || !node->layer->tail) break;
        gather_inputs(node, value, in);
        if (!node->layer->tail(run, node, in, tail)) break;
        taken[count] = node->index;
    }
    return count;
}

Tensor *graph_forward(const Graph *graph, const Run *run, Tensor *x, Tensor *value[]) {
    Tensor *local[GRAPH_MAX_NODES];
    bool join = !value;
    if (!value) value = local;
    for (int i = 0; i < graph->nodes; i++) value[i] = NULL;
    for (int i = 0; i < graph->nodes; i++) {
        const Node *node = &graph->node[i];
        if (value[i]) continue;             /* in a tail */
        Tensor *in[LAYER_MAX_INPUTS] = {x}; /* the input node, which has no inputs, reads x */
        gather_inputs(node, value, in);
        if (!join || !is_float(node) || !node->layer->forward_tail) {
            value[i] = node->forward(run, node, in);
            continue;
        }
        Tail tail = {0};
        int taken[GRAPH_MAX_NODES], count = collect_tail(graph, run, i, value, &tail, taken);
        value[i] = node->layer->forward_tail(run, node, in, &tail);
        for (int k = 0; k < count; k++) value[taken[k]] = value[i];
    }
    return value[graph->nodes - 1];
}

Node *graph_find(Graph *graph, const char *name) {
    for (int i = 0; i < graph->nodes; i++)
        if (strcmp(graph->node[i].name, name) == 0) return &graph->node[i];
    return NULL;
}

const Node *graph_output(const Graph *graph) {
    return &graph->node[graph->nodes - 1];
}

int graph_readers(const Graph *graph, int index) {
    return graph->node[index].readers;
}

Node *graph_only_reader(Graph *graph, int index) {
    const Node *node = &graph->node[index];
    if (node->readers != 1) return NULL;
    Node *reader = &graph->node[node->reader];
    return reader->inputs == 1 ? reader : NULL;
}

size_t graph_parameters(const Graph *graph) {
    size_t count = 0;
    for (int i = 0; i < graph->nodes; i++)
        for (int k = 0; k < graph->node[i].params; k++)
            if (graph->node[i].param[k].trainable) count += graph->node[i].param[k].tensor->count;
    return count;
}

size_t graph_multiply_adds(const Graph *graph, bool training) {
    size_t count = 0;
    bool learns[GRAPH_MAX_NODES] = {false}; /* something up to the node is trained */
    for (int i = 0; i < graph->nodes; i++) {
        const Node *node = &graph->node[i];
        bool before = false;
        size_t weights = 0;
        for (int k = 0; k < node->inputs; k++) before |= learns[node->in[k]];
        learns[i] = before;
        for (int k = 0; k < node->params; k++) {
            const Param *param = &node->param[k];
            learns[i] |= param->trainable;
            if (param->tensor->shape.rank > 1) weights += param->tensor->count;
        }
        if (!weights) continue;
        const Layer *layer = node->layer;
        size_t places = layer->places ? layer->places(node, &graph->node[node->in[0]].shape) : 1;
        count += weights * places * (training ? (before ? 3 : 2) : 1);
    }
    return count;
}

bool graph_complete(const Graph *graph, const Node **at, Error *error) {
    *at = NULL;
    if (graph->nodes < 2) return error_set(error, ERROR_INPUT, "a net needs an input and a layer");
    for (int i = 0; i < graph->nodes - 1; i++)
        if (!graph_readers(graph, i)) {
            *at = &graph->node[i];
            return error_set(error, ERROR_INPUT, "nothing reads %s, and it is not the last node",
                             graph->node[i].name);
        }
    return true;
}
