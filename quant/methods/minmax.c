/* minmax: the extremes of all that was seen: nothing is clamped, an outlier makes every step
 * coarser. */
#include "quant/method.h"

static void range(const Observer *seen, const RangeSpec *spec, float *lo, float *hi) {
    (void)spec;
    *lo = seen->min;
    *hi = seen->max;
}

const Method minmax_method = {
    .name = "minmax",
    .summary = "the extremes of all values",
    .range = range,
};
