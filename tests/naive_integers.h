/* A third opinion on what integers a frozen net computes: the contract's N1 and N5 to N7 as plain
 * loops in 64 bits, from the weights' codes, scales and zero points alone. It shares no arithmetic
 * with either engine. */
#pragma once

#include "autograd/normalize.h"
#include "quant/quantnet.h"

/* The codes q of each node for one image: code[i] has the node's elements, channels first; memory
 * of the arena. */
void naive_codes(const QuantNet *net, const Normalization *pixels, const uint8_t *image,
                 Arena *arena, int64_t *code[GRAPH_MAX_NODES]);
