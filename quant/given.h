/* Scales and zero points that come from elsewhere, not from what was observed or from the weights:
 * another tool's file has rounded to them, and so shall this net. */
#pragma once

#include "quant/quantnet.h"

/* The value has this grid from now on, and the range that it spans. */
void quantizer_give(Quantizer *quantizer, float scale, int32_t zero_point);

/* The weights of a weighted node have these scales (one, or one for each output) whatever they are:
 * a parameter that nobody trains, NODE.weight_fake_quant.scale; affine ones these zero points, too,
 * .zero_point. NULL: to be filled by a loader. */
void quant_give_weights(QNode *q, const float *scale, const int64_t *zero_point);

/* Scales follow the weights again (N9): for training, which moves them. */
void quant_forget_given(QuantNet *net);
