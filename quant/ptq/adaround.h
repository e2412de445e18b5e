/* AdaRound (Nagel, Amjad, van Baalen, Louizos, Blankevoort 2020, arXiv 2004.10568): a weight need
 * not have the nearest code. Which of its two neighbours it gets is learned, a layer at a time,
 * such that the layer's result changes least:
 *
 *   w~ = S (floor(w / S) + h(v)),   h(v) = clip(1.2 sigmoid(v) - 0.1, 0, 1)
 *
 * v begins where w~ = w; the rounding cost, sum of 1 - |2 h - 1|^beta, drives each h to 0 or 1. The
 * loop that moves v is train/adaround.c.
 *
 * What was learned is kept in the float weight itself: one that shall have the other code is moved
 * to where that code is the nearest. Nothing else need know of it. */
#pragma once

#include "quant/rules/weighted.h"

typedef struct Rounding {
    const QNode *q;
    Tensor *bias; /* [outputs] folded and rounded; NULL: none */
    Tensor *v;    /* outputs first, as the folded weights; the one to learn, needs_grad */
    int choices;  /* weights that have one */
    /* [v->count], in v's order */
    float *base, *step; /* w~ = base + step h(v); step is 0 where there is no choice */
    float *moved;       /* the float weight that has the other code */
    int8_t *turn;       /* the other code is the one above (1) or below (-1); 0: no choice */
} Rounding;

/* Of q's present weights: a "weighted" node of a calibrated net, not left float. No choice have
 * weights at the end of their channel's range, which decide its scale, those that are clamped, and
 * those of a channel that gamma = 0 or a tiny range has made a constant. Owned by the arena. */
Rounding *rounding_new(Arena *arena, const QNode *q);

/* The layer's result, before its relu, with weights w~ and the rounded bias. */
Tensor *rounding_apply(Tape *tape, const Rounding *rounding, Tensor *x);
/* weight * sum of 1 - |2 h(v) - 1|^beta, a scalar; beta >= 1. */
Tensor *rounding_cost(Tape *tape, const Rounding *rounding, float beta, float weight);

/* Moves the float weights whose h(v) is on the other code's side. The scales that follow from the
 * weights (N9) keep their bits, and N1 gives every weight the chosen code, through the fold of the
 * batchnorm. Returns how many were moved. */
int rounding_settle(const Rounding *rounding);

extern const Op soft_round_op, rounding_cost_op; /* for gradcheck */
