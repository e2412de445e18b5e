/* Quantizer: what quantizes one value (an edge of the graph): an observer that sees its range, the
 * scale and zero point that follow, and two switches. Nodes whose values share codes share the
 * pointer. */
#pragma once

#include "nn/layer.h"
#include "quant/learn.h"
#include "quant/method.h"

typedef struct Quantizer Quantizer;

/* What a value's scale is a multiple of, in portable nets (quant/portable.h). */
typedef struct Alignment {
    const Quantizer *base;   /* NULL: of nothing */
    const Quantizer *factor; /* of base's scale times this one's; NULL: of base's */
    Quantizer *const *term;  /* [terms] aligned to base, too: the result is at least as fine */
    int terms;
    int places; /* the multiple is k / 2^j with j at least this */
    bool odd;   /* and k odd */
} Alignment;

struct Quantizer {
    const char *name; /* of the node whose value it is */
    int order;        /* among the net's */
    QuantSpec spec;
    Observer seen;
    const Method *method;
    double percentile;
    QParams q;
    Tensor *learned;    /* q.scale as a parameter (quant/learn.h): the range does not follow what is
                           seen; NULL: it does */
    const Learn *learn; /* how it is learned */
    bool fixed;         /* the grid follows from the layer: what is observed does not move it */
    bool ready;         /* a range is known */
    bool observing;     /* update the range with each batch */
    bool faking;        /* round values to the grid */
    bool bypassed;      /* never round: the value leads from one float layer to others */
    Alignment align;
};

/* Owned by the arena; it has seen nothing and both switches are off. */
Quantizer *quantizer_new(Arena *arena, const char *name, const QuantSpec *spec);

/* Fixes the grid to the steps of 2^-bits in [0, 1): S = 2^-bits, Z = qmin. */
void quantizer_fix(Quantizer *quantizer);

/* A batch passes: observed, then rounded, as the switches say. A NaN or infinity is an error in
 * run->error. */
Tensor *quantizer_pass(Quantizer *quantizer, const Run *run, Tensor *x, Ste ste);

/* In a step of fine-tuning the quantizer may take a relu before it and a max-pool behind it along:
 * the values are those of one after the other. */
bool quantizer_joins(const Quantizer *quantizer);
Tensor *quantizer_pass_joined(Quantizer *quantizer, const Run *run, Tensor *x, bool relu,
                              const Window *pool, Ste ste);

/* Scale and zero point from the range that the method chooses of what was seen (at least one
 * batch), as the spec has it. A fixed grid stays as it is. */
void quantizer_update(Quantizer *quantizer);

/* From the present range on, moving averages follow the values (N9); a fixed amax stays. */
void quantizer_track(Quantizer *quantizer);

/* The same grid in bytes, as the integer kernels hold codes: u = q - qmin, so that codes begin at
 * 0. */
static inline int32_t quantizer_zero(const Quantizer *quantizer) {
    return quantizer->q.zero_point[0] - quantizer->q.qmin;
}
static inline int32_t quantizer_top(const Quantizer *quantizer) {
    return quantizer->q.qmax - quantizer->q.qmin;
}
