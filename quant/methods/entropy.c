/* entropy: the threshold T whose quantized distribution tells least apart from the one that was
 * seen, by Kullback-Leibler divergence (the calibration of TensorRT; Migacz 2017). For each T:
 *
 *   P  the bins within T of zero, what lies outside added to the outermost filled bin on its side
 *   Q  the same bins without what was added, in as many equal groups as there are codes, each
 * group's sum spread evenly over its bins that are not empty
 *
 * and T minimises sum P log(P / Q), both normalised. A symmetric grid looks at absolute values.
 * Zeros are left out: every grid represents them. */
#include <math.h>

#include "quant/method.h"

enum { THRESHOLDS = 512 /* tried at most: bins are then passed over evenly */ };

/* The divergence of `used` bins in `levels` groups; infinite if they are empty. below and above are
 * the counts outside. */
static double divergence(const double bin[], int used, int levels, double below, double above) {
    double inside = 0, sum = 0;
    int leftmost = 0, rightmost = used - 1;
    while (leftmost < used && bin[leftmost] <= 0) leftmost++;
    while (rightmost > leftmost && bin[rightmost] <= 0) rightmost--;
    for (int i = leftmost; i <= rightmost && i < used; i++) inside += bin[i];
    if (inside <= 0) return INFINITY;
    double total = inside + below + above;
    for (int g = 0; g < levels; g++) {
        int first = (int)((int64_t)g * used / levels),
            end = (int)((int64_t)(g + 1) * used / levels);
        double group = 0;
        int filled = 0;
        for (int i = first; i < end; i++) {
            group += bin[i];
            filled += bin[i] > 0;
        }
        for (int i = first; i < end; i++) {
            if (bin[i] <= 0) continue;
            double p = bin[i] + (i == leftmost ? below : 0) + (i == rightmost ? above : 0);
            sum += p / total * log(p / total / (group / filled / inside));
        }
    }
    return sum;
}

/* A value that occurs far more often than those beside it, as a constant background behind a
 * convolution does, is an atom: any grid moves it by half a step at most, but the bins would count
 * it as smeared over its whole group. Like the zeros' its own count says nothing, so it gets the
 * height of the higher one of its filled neighbours. */
static void flatten_atoms(double bin[HISTOGRAM_BINS]) {
    double before = 0;
    for (int i = 0, next = 0; i < HISTOGRAM_BINS; i++) {
        if (bin[i] <= 0) continue;
        if (next <= i) next = i + 1;
        while (next < HISTOGRAM_BINS && bin[next] <= 0) next++;
        double after = next < HISTOGRAM_BINS ? bin[next] : 0, most = fmax(before, after);
        before = bin[i];
        if (most > 0 && bin[i] > most) bin[i] = most;
    }
}

/* The distribution, bin[HISTOGRAM_HALF] being the first to the right of zero; of absolute values
 * all lies there. */
static void distribution(const Histogram *h, bool absolute, double bin[HISTOGRAM_BINS]) {
    for (int i = 0; i < HISTOGRAM_BINS; i++) bin[i] = (double)h->count[i];
    for (int j = 0; absolute && j < HISTOGRAM_HALF; j++) {
        bin[HISTOGRAM_HALF + j] += bin[HISTOGRAM_HALF - 1 - j];
        bin[HISTOGRAM_HALF - 1 - j] = 0;
    }
    flatten_atoms(bin);
}

static double sum_of(const double bin[], int first, int end) {
    double sum = 0;
    for (int i = first; i < end; i++) sum += bin[i];
    return sum;
}

static void range(const Observer *seen, const RangeSpec *spec, float *lo, float *hi) {
    bool absolute = spec->codes.symmetric;
    double bin[HISTOGRAM_BINS];
    distribution(seen->histogram, absolute, bin);
    int first = 0, end = HISTOGRAM_BINS; /* the bins in use */
    while (first < HISTOGRAM_HALF && bin[first] <= 0) first++;
    while (end > HISTOGRAM_HALF && bin[end - 1] <= 0) end--;
    int levels = 1 << (spec->codes.bits - (absolute && spec->codes.is_signed));
    int left = HISTOGRAM_HALF - first, right = end - HISTOGRAM_HALF,
        most = left > right ? left : right;
    int threshold = most, step = most / THRESHOLDS + 1;
    double best = INFINITY;
    for (int t = most; t > 0; t -= step) {
        int a = t < left ? HISTOGRAM_HALF - t : first, b = t < right ? HISTOGRAM_HALF + t : end;
        if (b - a < levels) break; /* fewer bins than codes: nothing is rounded */
        double d = divergence(bin + a, b - a, levels, sum_of(bin, first, a), sum_of(bin, b, end));
        if (d < best) {
            best = d;
            threshold = t;
        }
    }
    float t = (float)threshold * seen->histogram->width;
    *lo = -t > seen->min ? -t : seen->min;
    *hi = t < seen->max ? t : seen->max;
}

const Method entropy_method = {
    .name = "entropy",
    .summary = "the range whose codes keep most of the distribution (Kullback-Leibler)",
    .from_histogram = true,
    .range = range,
};
