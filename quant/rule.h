/* Rule: how one class of layers behaves under quantization. A layer's row names its rule;
 * everything that quant/ does with a node goes through the rule's functions.
 *
 *   simulate  while calibrating and fine-tuning: float arithmetic, differentiable, weights rounded
 * to their grid freeze    derives the integer constants, once: weights, biases, multipliers, tables
 *   exact     evaluation (N11): the same integers as the program, carried by floats; values in and
 * out lie on their grids, r = S (q - Z)
 *
 * To add a rule: quant/rules/NAME.c with `const Rule NAME_rule` and the line RULE(NAME) in
 * quant/rules.def. */
#pragma once

#include "nn/graph.h"
#include "nn/safetensors.h"
#include "quant/config/config.h"
#include "quant/quantizer.h"

typedef struct QNode QNode;

/* An array of a node's integers, as a frozen file keeps it. */
typedef struct IntegerArray {
    const char *name; /* behind the node's: "weight" */
    Dtype dtype;
    Shape shape;
    void *data;
    int bits;    /* of each code, if it holds packed ones (quant/pack.h) as U8; 0: it does not */
    Shape codes; /* then their shape, the parameter's */
} IntegerArray;
enum { RULE_ARRAYS = 4 };

typedef struct Rule {
    const char *name;
    bool owns_range; /* its value has a quantizer of its own; otherwise it shares its input's */
    bool unit_range; /* that quantizer's grid is fixed, to [0, 1) (quantizer_fix) */
    /* May this node be quantized as it stands? NULL: yes. On no: why, in *error. */
    bool (*check)(const QNode *q, Error *error);
    /* The value before its quantizer; NULL: the layer's own forward. */
    Tensor *(*simulate)(const Run *run, const QNode *q, Tensor *const in[]);
    /* Makes q->integers in `arena` from the quantizers and the present weights; NULL: there are
     * none. On a net that integers cannot hold: why, naming the node, in *error (ERROR_INPUT). */
    bool (*freeze)(QNode *q, Arena *arena, Error *error);
    /* For frozen files, NULL where there is nothing but what freeze derives from ranges: integers
     * of the right sizes, not filled; which arrays they are; and, once they are filled, the rest
     * and the proofs of freeze. */
    void (*blank)(QNode *q, Arena *arena);
    int (*arrays)(const QNode *q, IntegerArray array[RULE_ARRAYS]);
    bool (*complete)(QNode *q, Arena *arena, Error *error);
    Tensor *(*exact)(const Run *run, const QNode *q, Tensor *const in[]);
    void (*align)(QNode *q); /* in portable nets (quant/portable.h); NULL: nothing to align */
} Rule;

/* A node under quantization; node->quant points to it. */
struct QNode {
    const Rule *rule;
    Node *node;
    const QuantConfig *config;
    const Node *from[LAYER_MAX_INPUTS]; /* the nodes whose values it reads */
    Quantizer *in[LAYER_MAX_INPUTS];    /* of each of these values */
    Quantizer *out;                     /* of the value; after absorbed nodes, if there are any */
    const Node *into; /* not NULL: absorbed by that node, passes its value through */
    const Node *batchnorm,
        *relu;           /* what this node absorbed; NULL: nothing. A batchnorm alone: itself */
    const Node *pool;    /* the only reader of the chain's value, if it passes codes on */
    const QNode *behind; /* the chain whose `pool` this is; NULL: none */
    QuantSpec weight;    /* "weighted" rule: how its weights are quantized */
    bool is_float;  /* stays float: neither weights nor, for its own sake, the value are rounded */
    bool simulated; /* evaluated by simulation: it is float or has a grid too fine for integers */
    Tensor *weight_scale; /* their scales as a parameter, learned or given (quant/given.h); NULL:
                             they follow from the weights (N9) */
    int32_t *weight_zero; /* beside weight_scale: the zero points of affine weights; NULL: 0 */
    void *integers;       /* what freeze made; the rule knows its type */
};

extern const Rule *const rule_list[]; /* ends with NULL */
const Rule *rule_find(const char *name);
/* Does the layer of this node, which may be NULL, name that rule? */
bool node_has_rule(const Node *node, const char *rule);

/* The result of the layer's forward rounded to the output grid: exact() of rules that compute in
 * float. */
Tensor *rule_round(const Run *run, const QNode *q, Tensor *y);

/* x[i] as whole numbers q - Z of the grid; owned by the tape. */
Tensor *rule_codes(const Run *run, const Quantizer *grid, const Tensor *x);

/* The bytes that a result may have (N6): all, or the codes of what the absorbed relu leaves. */
typedef struct Bounds {
    int32_t lo, hi;
} Bounds;
Bounds rule_bounds(const QNode *q);
