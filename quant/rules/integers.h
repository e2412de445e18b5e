/* The integer constants that freeze derives, by rule: what both engines compute with. */
#pragma once

#include "quant/fixedpoint.h"
#include "quant/rule.h"

/* "weighted": acc[o] = sum (q_x - Z_x) q_w + q_b, then N6. */
typedef struct WeightedIntegers {
    int outputs, depth;     /* depth: weights of one output */
    int8_t *weight;         /* [outputs][depth] */
    int8_t *stored;         /* the same in the layer's layout, as files have them; may be `weight` itself */
    QParams grid;           /* of the weights: 1 or `outputs` scales */
    int32_t *bias;          /* [outputs], q_b in steps of S_x S_w[o] */
    Multiplier *multiplier; /* [outputs], S_x S_w[o] / S_y */
    int64_t largest;        /* the largest sum over k of |q_w| of any output */
} WeightedIntegers;

/* "sum": q_y = Z_y + round(sum over inputs of m[i] (q_i - Z_i)), one rounding at a joint shift. */
typedef struct SumIntegers {
    Multiplier multiplier[LAYER_MAX_INPUTS]; /* S_i / S_y */
} SumIntegers;

/* "mean": q_y = Z_y + round(m * sum over the window of (q - Z)), m = S_x / (divisor S_y). */
typedef struct MeanIntegers {
    Multiplier multiplier;
} MeanIntegers;
