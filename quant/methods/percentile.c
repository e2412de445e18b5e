/* percentile: the range that holds P percent of the values. What is cut off is cut evenly at both
 * ends; a symmetric grid cuts by absolute value. */
#include "quant/method.h"

/* Walks from one end of the histogram (step 1 or -1) until `cut` values have been passed; the edge
 * there. */
static float edge_after(const Histogram *h, int step, double cut) {
    double passed = 0;
    int i = step > 0 ? 0 : HISTOGRAM_BINS - 1;
    for (; i >= 0 && i < HISTOGRAM_BINS; i += step) {
        if (i - (step > 0) == HISTOGRAM_HALF - 1)
            passed += (double)h->zeros; /* zero lies between the halves */
        passed += (double)h->count[i];
        if (passed > cut) break;
    }
    int edge = step > 0 ? i : i + 1;
    return (float)(edge - HISTOGRAM_HALF) * h->width;
}

/* The absolute value that `cut` values exceed. */
static float magnitude_after(const Histogram *h, double cut) {
    const int64_t *right = h->count + HISTOGRAM_HALF, *left = right - 1;
    double passed = 0;
    int j = HISTOGRAM_HALF - 1;
    for (; j >= 0; j--) {
        passed += (double)right[j] + (double)left[-j];
        if (passed > cut) break;
    }
    return (float)(j + 1) * h->width;
}

static void range(const Observer *seen, const RangeSpec *spec, float *lo, float *hi) {
    const Histogram *h = seen->histogram;
    double total = (double)h->zeros;
    for (int i = 0; i < HISTOGRAM_BINS; i++) total += (double)h->count[i];
    double cut = total * (1 - spec->percentile / 100);
    float least = edge_after(h, 1, cut / 2), most = edge_after(h, -1, cut / 2);
    if (spec->codes.symmetric) {
        most = magnitude_after(h, cut);
        least = -most;
    }
    /* a bin's edge may lie beyond its values */
    *lo = least > seen->min ? least : seen->min;
    *hi = most < seen->max ? most : seen->max;
    if (*lo > *hi) *lo = *hi; /* nothing left on one side of zero */
}

const Method percentile_method = {
    .name = "percentile",
    .summary = "the range that holds --percentile of the values",
    .from_histogram = true,
    .range = range,
};
