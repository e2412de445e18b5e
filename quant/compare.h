/* Comparison: the two engines on the same images, code by code. Of a dynamically quantized net,
 * whose values are floats: bit by bit, computed with the integer kernels and with float BLAS. The
 * exact walk carries integers in floats and BLAS, the program computes with bytes: they share
 * constants and no arithmetic, so agreement is evidence. */
#pragma once

#include "quant/dynamic.h"
#include "quant/program.h"

typedef struct ValueComparison {
    const char *name; /* of the program's value, or of the node */
    int64_t codes, mismatched;
    int max_difference; /* in codes; of floats: how many lie from one to the other */
} ValueComparison;

typedef struct Comparison {
    const QuantNet *net; /* frozen, set to quant_exact */
    const Program *program;
    int64_t images, argmax_differs;
    int values;
    ValueComparison value[GRAPH_MAX_NODES]; /* [values] */
    int node[GRAPH_MAX_NODES];              /* [values]: whose value it is */
} Comparison;

/* Nothing compared yet. Net and program must outlive it. */
void compare_start(Comparison *comparison, const QuantNet *net, const Program *program);

/* Adds `samples` images: x[samples][C][H][W], normalised, and the pixels it was made of; scratch is
 * program_scratch(program, samples) bytes. The tape is reset. A NaN in x is an error in *error. */
bool compare_images(Comparison *comparison, Tape *tape, int samples, const float *x,
                    const uint8_t *pixels, void *scratch, Error *error);

/* The same for a net that was quantized dynamically; x as above. Its graph computes with integers
 * afterwards. */
void compare_start_dynamic(Comparison *comparison, const Dynamic *dynamic);
bool compare_dynamic(Comparison *comparison, Dynamic *dynamic, Tape *tape, int samples,
                     const float *x, Error *error);

/* The sums over all values. */
ValueComparison compare_total(const Comparison *comparison);
