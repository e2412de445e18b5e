/* Layer: the const row of one kind of node. It knows how to size, initialise and run that kind in
 * float on a tape, and says as data how it behaves under quantization; nn knows nothing more of it.
 *
 * To add a layer: nn/layers/NAME.c with `const Layer NAME_layer`, and LAYER(NAME) in nn/layers.def.
 * (A program that links the library brings a list of its own: docs/custom_layers.md.)
 * Text form, checkpoint, printing and quantization follow from the row; the tests loop over the
 * list. */
#pragma once

#include "autograd/error.h"
#include "autograd/ops.h"
#include "autograd/rng.h"
#include "nn/field.h"

typedef struct Node Node;

/* How a forward is run. */
typedef struct Run {
    Tape *tape;
    bool training;       /* batch statistics, dropout, observers: only while training */
    uint64_t seed, step; /* name the random numbers of this step */
    Error *error;        /* a value that cannot be used (NaN) is told here; NULL: not wanted */
} Run;

/* Where the weights of each output lie. They are `runs` runs of `run` neighbours; a block holds,
 * run by run, those of `block` outputs: weight[outputs / block][runs][block][run]. A linear or a
 * convolution layer's are one run each. */
typedef struct WeightLayout {
    int outputs, block, runs, run;
} WeightLayout;

/* Where weight k of output o lies, 0 <= k < runs * run. */
static inline size_t weight_index(const WeightLayout *layout, int o, int k) {
    size_t row = (size_t)(o / layout->block) * (size_t)layout->runs + (size_t)(k / layout->run);
    return (row * (size_t)layout->block + (size_t)(o % layout->block)) * (size_t)layout->run +
           (size_t)(k % layout->run);
}

enum { INPUTS_MANY = -1 /* two or more */, LAYER_MAX_INPUTS = OP_MAX_INPUTS };

typedef struct Layer {
    const char *name;    /* as in a .net text */
    const char *summary; /* one line for the reader */
    int inputs;          /* how many, or INPUTS_MANY */
    int spatial;         /* spatial dimensions that the input must have; 0: any shape */
    size_t spec_size;    /* of the struct that `fields` describes */
    const Field *fields; /* ends with a NULL name; NULL: none */

    /* From the inputs' shapes (of one sample), makes node->shape and declares parameters
     * (node_param). On a spec that does not fit: the reason in *error, without the node's name, and
     * false. */
    bool (*shape)(Node *node, const Shape *const in[], Error *error);
    /* Fills the parameters; NULL: none, or zeros serve. */
    void (*init)(Node *node, Rng *rng);
    /* The layer's result for a batch; owned by the tape. */
    Tensor *(*forward)(const Run *run, const Node *node, Tensor *const in[]);
    /* A chain of layers that read nothing but each other is run as one (Tail). Kinds at its head:
     * forward, then the tail. Kinds behind: adds itself to the tail if this run allows it and there
     * is room, or tells it what it wants (moments, later) and stays an op of its own: false. in[k]
     * is NULL for the chain's own value and what is still to be computed. */
    Tensor *(*forward_tail)(const Run *run, const Node *node, Tensor *const in[], const Tail *tail);
    bool (*tail)(const Run *run, const Node *node, Tensor *const in[], Tail *tail);
    /* Weighted kinds: the linear map with the weights given, b may be NULL. forward is apply(own
     * weights); batchnorm, whose statistics have been folded into the weights: w x + b for each
     * channel. */
    Tensor *(*apply)(Tape *tape, const Node *node, Tensor *x, Tensor *w, Tensor *b);
    /* Weighted kinds: the layout of "weight"; NULL: its first dimension is the outputs
     * (node_layout). */
    WeightLayout (*layout)(const Node *node);
    /* In how many places of a sample each weight (a parameter of two dimensions or more) is
     * multiplied, padding included; NULL: in one. */
    size_t (*places)(const Node *node, const Shape *in);

    /* --- under quantization (read by quant/) --- */
    const char
        *rule; /* a row of quant/rules.def: "weighted", "share", ...; NULL: stays float only */
    /* "mean": how many values are averaged at a position of the result, for an input of that
     * shape. */
    int (*divisor)(const Node *node, const Shape *in, int position);
    float (*pointwise)(const Node *node, float x); /* "pointwise": the function of one value */
    float clamp[2]; /* the least and most that a relu leaves: a producer that owns its range absorbs
                       it; 0 0: no relu */
} Layer;

static inline bool layer_clamps(const Layer *layer) {
    return layer->clamp[0] < layer->clamp[1];
}

/* The list: every layer of layers.def, NULL at its end. */
extern const Layer *const layer_list[];
const Layer *layer_find(const char *name);

/* The layer whose name is nearest to `name`, for "did you mean"; NULL if none is near. */
const Layer *layer_nearest(const char *name);
