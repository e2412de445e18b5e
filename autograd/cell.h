/* Cell: what one kind of recurrent layer does in a step with the sums of its gates. The walk over
 * the steps, its matrix products and the way back through time are op_recurrent's, whatever the
 * cell.
 *
 * In a step the sums are  input[g] = x_t W_ih' + b_ih  and  recur[g] = h_(t-1) W_hh' + b_hh,  one
 * row of H for each of the cell's gates. H: hidden size. A cell's last gates may be late: their
 * recur is of the memory that the others make in this step, memory_t W_hh' + b_hh.
 *
 * To add one: autograd/cells/NAME.c with `const Cell NAME_cell`, and CELL(NAME) in
 * autograd/cells.def. */
#pragma once

#include <math.h>
#include <stddef.h>

/* One step of one sample. */
typedef struct CellStep {
    int hidden;
    float *gates;       /* [gates][H] forward: the input's sums in, the gates' values out */
    const float *recur; /* [gates][H] forward: the state's sums */
    const float *h_before, *memory_before; /* [H] of the step before; zeros at the first */
    float *h, *memory; /* [H] the results; memory: whatever else the cell keeps of a step */

    /* backward */
    float *dh;              /* [H] in: dL/dh; out: dL/dh_before, but for what comes through recur */
    float *dmemory;         /* [H] in: dL/dmemory from the steps behind; out: dL/dmemory_before */
    float *dinput, *drecur; /* [gates][H] out: dL/d of the sums */
} CellStep;

/* In double, rounded once, as autograd/pointwise.def has them. tanh goes by the exponential, which
 * costs half of the library's tanh; its error of 2^-53 is below float's for all |x| > 2^-28. */
static inline float cell_sigmoid(float x) {
    return (float)(1 / (1 + exp(-(double)x)));
}
static inline float cell_tanh(float x) {
    return (float)(2 / (1 + exp(-2 * (double)x)) - 1);
}

typedef struct Cell {
    const char *name;
    int gates;
    void (*forward)(const CellStep *step);
    void (*backward)(const CellStep *step);
    int late; /* how many gates are; 0: none */
    /* If there are late ones: before forward, the other gates and memory, of their recur; before
     * backward, dinput and drecur of the late gates. What these make of dL/dmemory_t is then in
     * dmemory. */
    void (*begin)(const CellStep *step);
    void (*backward_late)(const CellStep *step);
} Cell;

#define CELL(name) extern const Cell name##_cell;
#include "autograd/cells.def"
#undef CELL
extern const Cell *const cell_list[]; /* ends with NULL */
