/* minmax: the extremes of all that was seen. The range never shrinks. */
#include "quant/observer.h"

static void update(Observer *observer, int c, float lo, float hi) {
    bool first = observer->batches == 0;
    if (first || lo < observer->min[c]) observer->min[c] = lo;
    if (first || hi > observer->max[c]) observer->max[c] = hi;
}

const ObserverKind minmax_observer = {
    .name = "minmax",
    .summary = "the extremes of all values",
    .update = update,
};
