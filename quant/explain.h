/* One output of a layer with weights, step by step: what integers meet, what they sum up to, how
 * the sum becomes a code, and what real number that is. */
#pragma once

#include "quant/fixedpoint.h"
#include "quant/rule.h"

typedef struct Term {
    int32_t x, w; /* q_x - Z_x and q_w - Z_w; x is 0 in the padding */
} Term;

typedef struct Explanation {
    int channel; /* of the output */
    int terms;
    Term *term;        /* [terms], in the order of the weights */
    int32_t sum;       /* of the products */
    int32_t bias, acc; /* q_b, and both */
    double scale;      /* S_x S_w / S_y, before it is rounded: */
    Multiplier multiplier;
    int64_t scaled; /* acc times it, rounded */
    Bounds bounds;  /* as bytes: u = q - qmin */
    int32_t byte;   /* the code, in bounds */
    float real;     /* S_y (u - zero) */
} Explanation;

/* Output number `element`, channels first, of the frozen weighted node for the input x[1, ...],
 * which lies on its grid. Memory is the arena's. ERROR_INPUT for a node that has no weights, is
 * part of another or stays float, and for an element that the result has not. */
bool quant_explain(const QNode *q, const Tensor *x, int element, Arena *arena, Explanation *result,
                   Error *error);
