/* Op: the const row of one differentiable function. The function itself is the typed one in
 * autograd/ops.h; the row holds its way back and what gradcheck needs to try it.
 *
 * To add an op: autograd/ops/NAME.c with the function, its backward and `const Op NAME_op`, its
 * prototype in autograd/ops.h, and the line OP(NAME) in autograd/ops.def. The tests loop over the
 * list. */
#pragma once

#include "autograd/rng.h"
#include "autograd/tape.h"

/* One trial of an op: its inputs and a spec that only the op's own file understands. */
typedef struct Sample {
    int inputs;
    Tensor *in[OP_MAX_INPUTS]; /* gradcheck checks those with needs_grad */
    const void *spec;
} Sample;

struct Op {
    const char *name;
    /* Adds to in[i]->grad, for each input with needs_grad, what out->grad makes of it. */
    void (*backward)(const Entry *entry);
    /* Bit k: where entry->fresh has it too, backward stores all of in[k]->grad, which holds nothing
     * yet. Where it adds, new gradients begin as zeros. */
    unsigned fills;
    /* Bit k, of those: where the input defers too and holds nothing yet, backward sets
     * in[k]->deferred and in[k]->grad stays NULL. */
    unsigned defers;
    /* Trials 0 .. samples-1: `sample` makes inputs (in `arena`, values from `rng`, away from kinks
     * by more than gradcheck's step) and `forward` runs the op on them. */
    int samples;
    void (*sample)(Arena *arena, Rng *rng, int trial, Sample *sample);
    Tensor *(*forward)(Tape *tape, const Sample *sample);
};

/* The list: every op of ops.def, NULL at its end. */
extern const Op *const op_list[];

/* A leaf for samples: normal values times `spread`, needs_grad true. */
Tensor *sample_leaf(Arena *arena, Rng *rng, Shape shape, float spread);
