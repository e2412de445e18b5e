/* QuantNet: a graph under quantization. quant_prepare attaches it to a graph, in place: chains that
 * become one integer operation are joined, every value gets its quantizer, and each node's forward
 * becomes one of two walks:
 *
 *   simulate  float arithmetic with switches: observing ranges, rounding to grids (calibration,
 * fine-tuning) exact     the integers of the frozen program, carried by floats (evaluation);
 * quant_freeze comes first
 */
#pragma once

#include "quant/rule.h"

/* A scale that is a parameter. */
typedef struct LearnedScale {
    Tensor *tensor;
    float *kept; /* [tensor->count] before the step */
} LearnedScale;

typedef struct QuantNet {
    Graph *graph;
    QuantConfig config;
    QNode node[GRAPH_MAX_NODES]; /* [graph->nodes] */
    int quantizers;
    Quantizer *quantizer[GRAPH_MAX_NODES]; /* of values, in the order of their nodes */
    int learned;
    LearnedScale *scale; /* [learned] what quant_learn made parameters */
    Arena *integers;     /* what freeze made, renewed by each freeze */
} QuantNet;

/* Rewrites the graph, as the configuration has it; its words are checked against the net
 * (ERROR_INPUT, with what may have been meant). Chains weighted (batchnorm) (relu) and others with
 * a relu at their end are joined where nothing else reads what lies between; the joined nodes stay,
 * as names that pass the value on. A net with a part that integers cannot do is refused, naming the
 * node (ERROR_INPUT), and is as before. Owned by the graph, but for quant_release. */
QuantNet *quant_prepare(Graph *graph, const QuantConfig *config, Error *error);
void quant_release(QuantNet *net); /* before graph_free; NULL is fine */

/* Switches of all values at once. */
void quant_observe(QuantNet *net, bool observing);
void quant_fake(QuantNet *net, bool faking);

/* The node of that name; NULL and ERROR_INPUT, with what may have been meant, if there is none. */
const Node *quant_node(const QuantNet *net, const char *name, Error *error);
/* Layers that stay float. Such a layer computes with its own weights, unrounded; the value it makes
 * is rounded only if a quantized layer reads it. switch: at run time, for a node with a value of
 * its own; ERROR_INPUT for others. The net must be frozen again then, before it evaluates. */
bool quant_switch(QuantNet *net, const char *name, bool quantized, Error *error);
/* Follows is_float and the bits of quantizers: which nodes are simulated, which values are not
 * rounded. */
void quant_assign(QuantNet *net);
/* Does the whole net compute with integers? ERROR_INPUT, naming the first layer that does not, and
 * why. */
bool quant_integral(const QuantNet *net, Error *error);
/* "fc, conv1", the layers that stay float; NULL if there are none. Owned by the arena. */
char *quant_floats(const QuantNet *net, Arena *arena);
/* Every quantizer on a line, weights too: bits, grid, range, method, on or off. Owned by the arena.
 */
char *quant_text(const QuantNet *net, Arena *arena);

/* Ranges. While calibrating: quant_collect gives every value a histogram to fill; quant_select then
 * chooses all ranges by one method, again and again if wanted. ERROR_INPUT, naming it, for a
 * quantizer that has seen no data, or not what the method needs. */
void quant_collect(QuantNet *net);
bool quant_select(QuantNet *net, const Method *method, double percentile, Error *error);
/* While fine-tuning: values are rounded, and from the present ranges on these follow by moving
 * average (N9). */
void quant_track(QuantNet *net);

/* Learned ranges: quant_learn makes scales trainable parameters of their nodes, for an optimizer
 * and a checkpoint to find; their values are today's, or a loader's. quant_learn_start gives those
 * of weights the values to begin with. Once for a net; "none" does nothing. */
void quant_learn(QuantNet *net, const Learn *learn);
void quant_learn_start(QuantNet *net);
/* Around the optimizer's step: it may at most halve or double a scale, so that scales stay positive
 * and finite. */
void quant_keep_scales(QuantNet *net);
void quant_limit_scales(QuantNet *net);
/* At the end of an epoch: learned scales of values in a portable net are aligned again. After each
 * step it would undo the step, most being smaller than the multiples lie apart. */
void quant_align_scales(QuantNet *net);

/* graph_forward simulates from here on (quant_prepare's choice too), or evaluates exactly, with
 * every switch to round on; layers without integers (quant_switch, more than 8 bits) are simulated
 * then, between exact ones. */
void quant_simulate(QuantNet *net);
void quant_exact(QuantNet *net);

/* Derives the integers of every node that has any from the present weights and ranges: the model
 * itself is not changed, and doing it twice gives the same. ERROR_INPUT, naming the node, for a
 * value whose range is not known and for sums that do not fit 32 bits. */
bool quant_freeze(QuantNet *net, Error *error);

/* The same from integers that a loader fills in: quant_blank makes room for them, quant_complete
 * does the rest. */
void quant_blank(QuantNet *net);
bool quant_complete(QuantNet *net, Error *error);
