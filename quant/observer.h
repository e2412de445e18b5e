/* Observer: sees the floats of one value, batch after batch, and remembers what every method of
 * choosing a range could want: extremes, averaged extremes, and a histogram. It does not choose;
 * quant/method.h does, later, as often as one likes, without the data. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autograd/arena.h"

enum { HISTOGRAM_HALF = 2048, HISTOGRAM_BINS = 2 * HISTOGRAM_HALF };

/* Counts by value: bin i holds (i - HALF) width <= x < (i + 1 - HALF) width. Zeros, of which a relu
 * makes many and which every grid represents exactly, are counted apart. The width is a power of
 * two and doubles when a value does not fit: neighbours are then added, so that nothing is lost and
 * no order of batches matters. */
typedef struct Histogram {
    float width;
    int64_t zeros;
    int64_t count[HISTOGRAM_BINS];
} Histogram;

typedef struct Observer {
    float min, max;                 /* extremes of all values; 0 0 at first */
    float average_min, average_max; /* N9: first batch's, then m += 0.01 (x - m) */
    int64_t batches;                /* seen so far */
    Histogram *histogram;           /* NULL: not kept */
} Observer;

/* The width of an empty histogram: doubling reaches any value's size from there. */
#define HISTOGRAM_LEAST 0x1p-100f
/* An empty histogram; owned by the arena. */
Histogram *histogram_new(Arena *arena);

/* Shows a batch. False if a value is NaN or infinite: the observer is as before. */
bool observer_update(Observer *observer, const float *x, size_t count);
