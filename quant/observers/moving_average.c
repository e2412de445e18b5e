/* moving-average: the first batch's extremes, then m += 0.01 (x - m) with each batch's (N9; the constant is
 * PyTorch's). One outlier moves the range by a hundredth of what it would in minmax, and old batches fade. */
#include "quant/observer.h"

static void update(Observer *observer, int c, float lo, float hi) {
    float rate = observer->batches == 0 ? 1.0f : 0.01f;
    observer->min[c] += rate * (lo - observer->min[c]);
    observer->max[c] += rate * (hi - observer->max[c]);
}

const ObserverKind moving_average_observer = {
    .name = "moving-average",
    .summary = "extremes of each batch, averaged with rate 0.01",
    .update = update,
};
