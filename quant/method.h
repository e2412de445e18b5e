/* Method: chooses the range that codes shall cover from what an observer has seen.
 *
 * To add a method: quant/methods/NAME.c with `const Method NAME_method` and the line METHOD(NAME)
 * in quant/methods.def. */
#pragma once

#include "quant/observer.h"
#include "quant/qparams.h"

typedef struct RangeSpec {
    QuantSpec codes;   /* what the range is for */
    double percentile; /* share of values to be inside, in percent */
} RangeSpec;

typedef struct Method {
    const char *name, *summary; /* name as in --method */
    bool from_histogram;        /* the observer must have kept one */
    /* lo <= hi, within what was seen. The observer has seen at least one batch. */
    void (*range)(const Observer *seen, const RangeSpec *spec, float *lo, float *hi);
} Method;

extern const Method *const method_list[]; /* ends with NULL */
const Method *method_find(const char *name);
/* Names by number, NULL past the last: for tables of choices. */
const char *method_name(int index);

/* The bins that are not empty, as values (their middles) and counts; zeros are left out. */
typedef struct Bins {
    int bins;
    float value[HISTOGRAM_BINS];
    double count[HISTOGRAM_BINS];
} Bins;
void bins_of(const Histogram *histogram, Bins *bins);
