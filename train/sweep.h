/* The accuracy table: one float model at many bit widths, after calibration and after fine-tuning,
 * over several seeds. A seed draws the calibration's images and orders the fine-tuning's; each cell
 * begins from the float file, so that it does not depend on the others, nor on a table that was
 * begun earlier. */
#pragma once

#include "train/calibration.h"

enum { SWEEP_CELLS = 4096 };

typedef struct SweepCell {
    int bits, weight_bits, seed;
    double calibrated, finetuned; /* test accuracy, as sweep_accuracy has it; finetuned is NAN
                                     without fine-tuning */
} SweepCell;

typedef struct Sweep {
    const Settings *settings; /* lr and finetune_epochs filled in */
    const char *model;        /* the float file */
    double float_accuracy;
    uint32_t model_crc; /* of the file's bytes */
    int cells;
    SweepCell *cell; /* [SWEEP_CELLS] */
} Sweep;

/* The accuracy with the nine digits that a file keeps: a table does not depend on whether its cells
 * were read. */
double sweep_accuracy(double accuracy);

/* A column of the table: what the seeds of one pair of bit widths gave. */
typedef struct Spread {
    int count;
    double mean, deviation, least, most; /* deviation of a sample: divided by count - 1; 0 of one */
} Spread;
Spread sweep_spread(const Sweep *sweep, int bits, int weight_bits, bool finetuned);

/* The table so far as JSON: what was asked, the cells, and the rows with their spreads. A new
 * reference. */
json_t *sweep_to_json(const Sweep *sweep);
/* Takes the cells of an earlier file that asked the same with fewer or other cells; a file that is
 * not there has none. ERROR_USAGE for one that asked something else: it would be overwritten. */
bool sweep_resume(Sweep *sweep, const char *path, Error *error);
/* The cell if it is known, else NULL. */
const SweepCell *sweep_find(const Sweep *sweep, int bits, int weight_bits, int seed);

/* Files that appear whole or not at all. */
bool sweep_write_json(const Sweep *sweep, const char *path, Error *error);
bool sweep_write_csv(const Sweep *sweep, const char *path, Error *error);
