/* Dataset: labelled images, as the bytes that were in the files.
 *
 * To add a kind of data set: datasets/NAME.c with `const DatasetFormat NAME_format` (format.h) and
 * the line FORMAT(NAME) in formats.def. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autograd/error.h"

/* Where Debian's package dataset-fashion-mnist puts its files. */
#define DATASET_DEFAULT "/usr/share/datasets/fashion-mnist"

/* Largest number of pixel bytes that a data set may have: 1 GiB. */
#define DATASET_MAX_BYTES ((size_t)1 << 30)

typedef struct Dataset {
    int count, channels, height, width;
    int classes;        /* labels are 0 .. classes-1 */
    uint8_t *pixels;    /* [count][channels][height][width] */
    uint8_t *labels;    /* [count] */
    char *source;       /* the first file that the images came from */
    const char *format; /* what kind of file: "IDX", "CIFAR-10" */
} Dataset;

/* Reads the training or the test images found in `folder`, NULL meaning DATASET_DEFAULT; only the
 * first `limit` of them are kept, all if it is 0, but the whole files are read and checked. The
 * caller owns the result: dataset_free. NULL and ERROR_IO if nothing is found (the message lists
 * what was looked for) or a file cannot be read, ERROR_INPUT if a file holds something else than it
 * should. */
Dataset *dataset_open(const char *folder, bool train, int limit, Error *error);
void dataset_free(Dataset *dataset); /* NULL is fine */

/* Bytes of one image, and where image i begins. */
static inline size_t dataset_image_bytes(const Dataset *dataset) {
    return (size_t)dataset->channels * (size_t)dataset->height * (size_t)dataset->width;
}
static inline const uint8_t *dataset_image(const Dataset *dataset, int i) {
    return dataset->pixels + (size_t)i * dataset_image_bytes(dataset);
}

/* Mean and standard deviation (of the population) of pixel/255, channel by channel. The sums are
 * exact integers, so the result depends on no order. A channel of one value gets std 1. */
void dataset_statistics(const Dataset *dataset, float mean[], float std[]);
