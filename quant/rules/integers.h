/* The integer constants that freeze derives, by rule: what both engines compute with. */
#pragma once

#include "quant/fixedpoint.h"
#include "quant/rule.h"

/* "weighted": acc[o] = sum (q_x - Z_x) (q_w - Z_w) + q_b, then N6. */
typedef struct WeightedIntegers {
    int outputs, depth; /* depth: weights of one output */
    int8_t *weight;     /* [outputs][depth] */
    int8_t *stored;     /* the same in the layer's layout; may be `weight` itself */
    uint8_t *
        packed; /* the rows of `weight` as files have them (quant/pack.h); NULL: 8 bits, `stored` */
    QParams grid;  /* of the weights: 1 or `outputs` scales, and zero points: 0 if symmetric */
    int32_t *bias; /* [outputs], q_b in steps of S_x S_w[o] */
    Multiplier *multiplier; /* [outputs], S_x S_w[o] / S_y */
    int64_t largest;        /* the largest sum over k of |q_w - Z_w| of any output */
} WeightedIntegers;

/* "sum": q_y = Z_y + round(sum over inputs of m[i] (q_i - Z_i)), one rounding at a joint shift. */
typedef struct SumIntegers {
    Multiplier multiplier[LAYER_MAX_INPUTS]; /* S_i / S_y */
} SumIntegers;

/* "product": q_y = Z_y + round(m (q_a - Z_a) (q_b - Z_b)), m = S_a S_b / S_y. */
typedef struct ProductIntegers {
    Multiplier multiplier;
} ProductIntegers;

/* "concat": q_y = Z_y + round(m[i] (q_i - Z_i)) for the channels of input i. */
typedef struct ConcatIntegers {
    Multiplier multiplier[LAYER_MAX_INPUTS]; /* S_i / S_y, each with a shift of its own */
} ConcatIntegers;

/* "softmax": q_y = Z_y + round(2^bits p[c] / sum over k of p[k]), p[c] = power[largest q - q_c]. */
typedef struct SoftmaxIntegers {
    int bits;           /* of the output: S_y = 2^-bits */
    int32_t power[256]; /* round(2^23 exp(-S_x d)) for each distance d between two codes */
} SoftmaxIntegers;

/* round(2^bits part / sum), half up; 0 <= part <= sum < 2^54. */
static inline int64_t softmax_share(int32_t part, int64_t sum, int bits) {
    return (((int64_t)part << (bits + 1)) + sum) / (2 * sum);
}

/* "mean": q_y = Z_y + round(m[divisor] * sum over the window of (q - Z)), m[n] = S_x / (n S_y). At
 * all positions the divisor is the window's size, unless padding is left out of the means. */
typedef struct MeanIntegers {
    int positions, most;    /* the largest divisor */
    int *divisor;           /* [positions] */
    Multiplier *multiplier; /* [most + 1]; of those that are no position's 0 */
} MeanIntegers;
