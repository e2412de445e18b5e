/* Graph: a network as data, an array of nodes in execution order. It owns its nodes, specs and
 * parameters for the model's life. Everything stair does with a network is one walk over this
 * array.
 *
 * The text form (.net, also what a checkpoint carries) has one node a line:
 *     conv1 = conv2d x out=40 kernel=3     # name = layer inputs... fields...
 * The first node is the only input; the last one is the output. */
#pragma once

#include "nn/layer.h"

enum {
    GRAPH_MAX_NODES = 256,
    GRAPH_MAX_PARAMS = 1 << 28, /* numbers in all */
    NODE_NAME = 64,             /* with its end */
    NODE_PARAMS = 32,
    PARAM_NAME = 32, /* with its end */
    NET_TEXT_MOST = 1 << 16,
    NET_LINES_MOST = 1024,
};

/* A named array of a node. Names and layouts are PyTorch's: "weight", "bias", "running_mean", ...
 */
typedef struct Param {
    const char *name;
    Tensor *tensor;
    bool trainable;     /* false: a buffer, moved by the layer itself */
    bool counter;       /* a whole number that checkpoints keep as I64 (num_batches_tracked) */
    bool positive;      /* its values are > 0: a scale */
    bool matrix;        /* [O,K], and all that its layer does with it is a Product */
    const Multiply *by; /* of a matrix: what multiplies, NULL: BLAS; quant/ puts its own in place */
} Param;

struct Node {
    char name[NODE_NAME];
    int index; /* in graph->node */
    const Layer *layer;
    void *spec; /* of layer->spec_size */
    int inputs;
    int in[LAYER_MAX_INPUTS]; /* indices of earlier nodes */
    Shape shape;              /* of one sample of the result */
    int readers, reader;      /* how many inputs of later nodes it is, and of which node last */
    int params;
    Param param[NODE_PARAMS];
    Arena *arena; /* the graph's */

    /* What graph_forward calls: layer->forward, until quant/ puts its own in place and keeps its
     * data in `quant`, which nn never interprets. */
    Tensor *(*forward)(const Run *run, const Node *node, Tensor *const in[]);
    void *quant;
};

typedef struct Graph {
    Arena *arena;
    char name[NODE_NAME]; /* of the zoo net or file it was built from */
    int nodes;
    Node node[GRAPH_MAX_NODES];
} Graph;

/* Builds the net that `text` describes; `source` names it in messages ("FILE.net:3:12: ...").
 * Parameters are zero. The caller owns the graph: graph_free. NULL and *error (ERROR_INPUT) if the
 * text is wrong. */
Graph *graph_parse(const char *text, size_t size, const char *source, Error *error);
void graph_free(Graph *graph); /* NULL is fine */

/* The net as text, canonical: fields that hold their default are left out. Owned by `arena`. */
char *graph_text(const Graph *graph, Arena *arena);

/* One node, appended: the road that graph_parse and other readers share. `spec` (layer->spec_size
 * bytes) is copied. NULL and the reason, without a place, in *error. */
Node *graph_add(Graph *graph, const char *name, const Layer *layer, const void *spec, int inputs,
                const int in[], Error *error);
/* Takes the last node back, whose parameters stay in the arena. */
void graph_drop(Graph *graph);
Graph *graph_new(const char *name);
/* Names come from files and their paths: cut to fit, and what is not printable ASCII becomes '?'.
 */
void graph_rename(Graph *graph, const char *name);
/* After the last node: one input, nothing unused. If not, *at is the node to blame; NULL: none. */
bool graph_complete(const Graph *graph, const Node **at, Error *error);

/* Declares a parameter of zeros; for Layer.shape. Its data is there once the node is in the graph.
 */
void node_param(Node *node, const char *name, Shape shape, bool trainable);
/* A trainable matrix [outputs,depth], and, for Layer.forward, the product with it; the bias may be
 * a name that the node has not. */
void node_matrix(Node *node, const char *name, int outputs, int depth);
Product node_product(const Node *node, const char *weight, const char *bias);
/* The tensor of that name, NULL if the node has none. */
Tensor *node_tensor(const Node *node, const char *name);

/* The layout of a weighted node's "weight". */
WeightLayout node_layout(const Node *node);

/* Fills all parameters as PyTorch's layers do, each from its own random stream of `seed`. */
void graph_init(Graph *graph, uint64_t seed);

/* Runs the net on x[N, input shape]; the result is the last node's, owned by the tape. If `value`
 * is not NULL it receives the result of each node (graph->nodes of them); if it is, chains of
 * layers run as one (Layer.tail), with the same result. */
Tensor *graph_forward(const Graph *graph, const Run *run, Tensor *x, Tensor *value[]);

Node *graph_find(Graph *graph, const char *name); /* NULL if there is none */
const Node *graph_output(const Graph *graph);
/* How many nodes read the result of node `index`. */
int graph_readers(const Graph *graph, int index);
/* The only node that reads node `index`, if it reads nothing else; else NULL. */
Node *graph_only_reader(Graph *graph, int index);
/* Trainable numbers in all. */
size_t graph_parameters(const Graph *graph);
/* Multiply-adds of the weights for one sample, padding included: forward, or a step of training.
 * Back there are as many again for the weights' gradient and, unless nothing is trained before the
 * node, as many for its input's. */
size_t graph_multiply_adds(const Graph *graph, bool training);
