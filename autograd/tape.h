/* Tape: the record of one step. Each differentiable function in autograd/ops.h computes its result
 * at once and, if a gradient is wanted, records an Entry: the op, its inputs, its output and what
 * its backward needs. tape_backward walks the entries in reverse. The tape owns every activation of
 * the step; tape_reset forgets them all. */
#pragma once

#include "autograd/tensor.h"

enum { OP_MAX_INPUTS = 8 };

typedef struct Op Op;
typedef struct Tape Tape;

typedef struct Entry {
    const Op *op;
    Tape *tape; /* for scratch memory during backward */
    int inputs;
    Tensor *in[OP_MAX_INPUTS]; /* a place may be NULL: an absent bias */
    Tensor *out;
    void *saved;    /* what backward needs besides in and out; owned by the tape */
    unsigned fresh; /* bit k, during backward: in[k]->grad holds nothing yet (Op.fills) */
} Entry;

struct Tape {
    Arena *arena;
    Entry *entries; /* in the arena, grown by doubling */
    int count, capacity;
    bool recording; /* false: evaluation, nothing is recorded */
    /* Linear ops on whole numbers give whole numbers, exactly, while all sums stay below 2^24: they
     * add nothing but the products of the definition. Else they may take faster ways. */
    bool exact;
};

/* A recording tape, or one for evaluation. The caller owns it: tape_free. */
Tape *tape_new(bool recording);
void tape_free(Tape *tape);

/* Forgets all tensors and entries of the step. */
void tape_reset(Tape *tape);

/* A result tensor, uninitialised; owned by the tape. */
Tensor *tape_tensor(Tape *tape, Shape shape);

/* Records that `op` made `out` from in[0..inputs). out->needs_grad becomes true if an input's is;
 * then, on a recording tape, the entry is kept. Returns whether it was kept, so that an op can skip
 * saving. */
bool tape_record(Tape *tape, const Op *op, Tensor *out, int inputs, Tensor *const in[],
                 void *saved);

/* Large gradients need not go through memory. An op that can take its result's by planes, in place
 * of out->grad, sets out->defers; one that can make an input's by planes says so (Op.defers). Where
 * the two meet, and nothing else reads the tensor, the gradient is stored nowhere. */

/* d loss / d t for every tensor t behind `loss` (one element): added into t->grad, which is made,
 * zeroed, where it is missing. Gradients of parameters are the caller's memory: clear them before a
 * step. */
void tape_backward(Tape *tape, Tensor *loss);
