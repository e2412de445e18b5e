/* Loader: turns a data set into batches of normalised floats. The order of epoch e is a pure
 * function of (seed, e), so a run that resumes at (epoch, step) sees the batches it would have
 * seen. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "autograd/normalize.h"
#include "datasets/augment.h"
#include "datasets/dataset.h"

/* The Normalization that gives a data set mean 0 and std 1 in each channel. */
Normalization normalization_of(const Dataset *dataset);

typedef struct Loader Loader;

/* A loader of batches of `batch` images, in index order or, if `shuffle`, in an order of each
 * epoch's own. The dataset must outlive it and have the normalization's channels. The caller owns
 * the result: loader_free. NULL and ERROR_IO without memory. One loader serves one thread. */
Loader *loader_new(const Dataset *dataset, const Normalization *normalization, int batch,
                   uint64_t seed, bool shuffle, Error *error);
void loader_free(Loader *loader); /* NULL is fine */

/* From here on images are augmented, by the loader's seed; cutouts have the normalization's mean.
 */
void loader_augment(Loader *loader, Augmentations set);

/* Batches in an epoch; the last may be smaller. */
int loader_steps(const Loader *loader);

/* Fills images [n][C][H][W] and labels [n] with batch `step`, 0 .. loader_steps-1, of `epoch`, in
 * any order of calls, and returns n, 1 .. batch. Allocates nothing. */
int loader_batch(Loader *loader, uint64_t epoch, int step, float *images, int *labels);
