/* Mixed precision: what each layer's rounding costs alone, and which layers should have more bits.
 */
#pragma once

#include "train/evaluate.h"

typedef struct LayerCost {
    const char *name; /* of a node with a value of its own */
    bool weighted;
    size_t weights; /* how many; 0: none */
    int bits, weight_bits;
    double only_accuracy, only_sqnr; /* this layer alone quantized, its inputs read from 8-bit
                                        grids; SQNR of the net's output, dB */
    double value_sqnr;               /* and of the layer's own value */
    double but_accuracy, but_sqnr;   /* all but this one */
} LayerCost;

typedef struct MixedStudy {
    Model *model;        /* calibrated, with its histograms */
    const Dataset *data; /* what is measured on */
    int batch;
    double float_accuracy, all_accuracy, all_sqnr; /* of no layer quantized, and of all */
    int layers;
    LayerCost layer[GRAPH_MAX_NODES];
} MixedStudy;

/* Lists the layers that the configuration does not leave float, and gives all hidden ones `bits`
 * for values and `weight_bits`; 0 keeps the model's. ERROR_INPUT for a model without histograms. */
bool mixed_start(MixedStudy *study, Model *model, const Dataset *data, int batch, int bits,
                 int weight_bits, Error *error);
/* Measures every layer, alone and left out; it is told to `each` as it is measured (may be NULL).
 */
bool mixed_measure(MixedStudy *study, void (*each)(const LayerCost *layer), Error *error);

/* What a search may spend. */
typedef struct MixedBudget {
    double drop;   /* accuracy below float that is allowed; negative: use the bytes up */
    int64_t bytes; /* of all weights, packed; 0: unlimited */
} MixedBudget;

/* Gives bits, one at a time, to the layer whose rounding alone disturbs the output most and whose
 * weights still fit, until the accuracy is within the budget's drop of float or nothing more fits.
 * The study must have been measured; afterwards all_accuracy and all_sqnr are those of the result.
 */
bool mixed_search(MixedStudy *study, const MixedBudget *budget, Error *error);

/* The weights' bytes with the layers' present bits. */
int64_t mixed_bytes(const MixedStudy *study);
/* The model's configuration with the layers' bits as overrides. */
QuantConfig mixed_config(const MixedStudy *study);
