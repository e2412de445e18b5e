/* moving-average: the extremes of each batch, averaged (N9; the rate 0.01 is PyTorch's). One
 * outlier moves the range by a hundredth of what it would in minmax, and old batches fade: what
 * fine-tuning wants, where values drift. */
#include "quant/method.h"

static void range(const Observer *seen, const RangeSpec *spec, float *lo, float *hi) {
    (void)spec;
    *lo = seen->average_min;
    *hi = seen->average_max;
}

const Method moving_average_method = {
    .name = "moving-average",
    .summary = "extremes of each batch, averaged with rate 0.01",
    .range = range,
};
