/* Scales and zero points that come from elsewhere, not from what was observed or from the weights:
 * another tool's file has rounded to them, and so shall this net. */
#pragma once

#include "quant/model.h"

/* The value has this grid from now on, and the range that it spans. */
void quantizer_give(Quantizer *quantizer, float scale, int32_t zero_point);

/* The weights of a weighted node have these scales (one, or one for each output) whatever they are:
 * a parameter that nobody trains, NODE.weight_fake_quant.scale; affine ones these zero points, too.
 * NULL: to be filled by a loader. */
void quant_give_weights(QNode *q, const float *scale, const int64_t *zero_point);

/* Scales follow the weights again (N9): for training, which moves them. */
void quant_forget_given(QuantNet *net);

/* What a file says of a net's values and weights. */
typedef struct GivenGrid {
    float scale;
    int64_t zero, least, most; /* codes least .. most */
} GivenGrid;

typedef struct GivenWeights {
    int scales;          /* 1: that of all outputs is one; or their number */
    const float *scale;  /* [outputs] */
    const int64_t *zero; /* [outputs]; NULL: all are 0 */
    bool full_range;     /* codes down to -128 */
} GivenWeights;

typedef struct Given { /* by node of the net; NULL: not rounded */
    const GivenGrid *grid[GRAPH_MAX_NODES];
    const GivenWeights *weight[GRAPH_MAX_NODES];
} Given;

/* The graph as chains that become one operation, to see which node absorbs which: prepared, kinds
 * that cannot be quantized left float. Prepare it anew for use. */
QuantNet *given_net(Graph *graph, Error *error);

/* Makes the float model a calibrated one with these grids. ERROR_INPUT. */
bool model_give(Model *model, const Given *given, Error *error);
