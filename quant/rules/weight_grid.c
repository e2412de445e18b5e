/* The grids of weights: which reals the codes of each output stand for. */
#include <float.h>

#include "quant/fold.h"
#include "quant/portable.h"
#include "quant/rules/weighted.h"

static void channel_range(const Tensor *w, int channels, int c, float *lo, float *hi) {
    size_t inner = w->count / (size_t)channels;
    const float *row = w->data + (size_t)c * inner;
    *lo = *hi = 0;
    for (size_t i = 0; i < inner; i++) {
        *lo = row[i] < *lo ? row[i] : *lo;
        *hi = row[i] > *hi ? row[i] : *hi;
    }
}

/* The same by the method that the configuration chose: a channel is a batch of its own, and nothing
 * is remembered (N9). `channels` observers share one histogram. */
static void chosen_range(const QNode *q, const Tensor *w, int channels, int c, Histogram *histogram,
                         float *lo, float *hi) {
    size_t inner = w->count / (size_t)channels;
    Observer seen = {.histogram = histogram};
    *histogram = (Histogram){.width = HISTOGRAM_LEAST};
    observer_update(&seen, w->data + (size_t)c * inner, inner);
    RangeSpec spec = {q->weight, q->config->percentile};
    spec.codes.is_signed = true;
    q->weight.method->range(&seen, &spec, lo, hi);
    *lo = fminf(*lo, 0);
    *hi = fmaxf(*hi, 0);
}

QParams weight_codes(Arena *arena, const QNode *q, int outputs) {
    QuantSpec spec = q->weight;
    spec.is_signed = true;
    return qparams_new(arena, &spec, spec.per_channel ? outputs : 1);
}

QParams weight_grid(Arena *arena, const QNode *q, const Tensor *w, const Tensor *bias) {
    int outputs = w->shape.dim[0];
    QParams grid = weight_codes(arena, q, outputs);
    int channels = grid.channels;
    bool chosen = q->weight.method && q->weight.method->from_histogram;
    Histogram *histogram = chosen ? histogram_new(arena) : NULL;
    for (int c = 0; c < channels; c++) {
        float lo, hi;
        if (q->weight_scale) {
            grid.scale[c] = q->weight_scale->data[c];
            if (q->weight_zero) grid.zero_point[c] = q->weight_zero[c];
            continue;
        }
        channel_range(w, channels, c, &lo, &hi);
        if (!isfinite(lo) || !isfinite(hi)) continue; /* the NaN check of the step reports it */
        if (chosen && lo < hi) chosen_range(q, w, channels, c, histogram, &lo, &hi);
        spec_range(&q->weight, &lo, &hi);
        qparams_set_range(&grid, c, q->weight.symmetric, lo, hi);
        if (lo == hi) grid.scale[c] = 0; /* dead: 0 until a bias asks for more */
    }
    for (int o = 0; bias && q->in[0]->ready && o < outputs; o++) {
        float least = bias_scale_floor(bias->data[o], q->in[0]->q.scale[0]);
        if (q->config->portable) least = ldexpf(least, 30 - PORTABLE_BIAS_BITS);
        float *scale = &grid.scale[channels == 1 ? 0 : o];
        if (*scale < least) *scale = least;
    }
    for (int c = 0; c < channels; c++)
        if (grid.scale[c] < FLT_MIN) grid.scale[c] = 1; /* nothing is left, or next to nothing */
    if (q->config->portable && q->in[0]->ready && q->out->ready)
        for (int c = 0; c < channels; c++)
            grid.scale[c] =
                portable_weight_scale(q->in[0]->q.scale[0], grid.scale[c], q->out->q.scale[0]);
    return grid;
}

/* The squared error of rounding w[count] to channel c. */
static double grid_error(const QParams *grid, int c, const float *w, size_t count) {
    double sum = 0;
    for (size_t k = 0; k < count; k++) {
        double error = (double)(dequantize(grid, c, quantize(grid, c, w[k])) - w[k]);
        sum += error * error;
    }
    return sum;
}

/* The zero points with which a grid of channel c's scale, no wider than the affine channel [lo,
 * hi], lies within it: from the one that keeps the upper end to the one that keeps the lower. */
static void zero_range(const QParams *grid, int c, float lo, float hi, int32_t *first,
                       int32_t *last) {
    float s = grid->scale[c], qmin = (float)grid->qmin, qmax = (float)grid->qmax;
    *first = (int32_t)clamp_float(round_half_even(qmax - hi / s), qmin, qmax);
    *last = (int32_t)clamp_float(round_half_even(qmin - lo / s), qmin, qmax);
}

/* Sets channel c to the grid with the least squared error, of those with 64ths of its scale, which
 * cuts nothing off; the largest such scale. Affine ones may have some zero points each. */
static void best_grid(QParams *grid, int c, bool affine, const float *w, size_t count) {
    enum { TRIES = 64, ZEROS = 8 };
    const float top = grid->scale[c];
    float lo = 0, hi = 0, scale = top;
    for (size_t k = 0; k < count; k++) {
        lo = fminf(lo, w[k]);
        hi = fmaxf(hi, w[k]);
    }
    int32_t zero = grid->zero_point[c], first = 0, last = 0;
    double least = INFINITY;
    for (int i = TRIES; i > 0; i--) {
        grid->scale[c] = top * (float)i / TRIES;
        if (affine) zero_range(grid, c, lo, hi, &first, &last);
        int32_t step = (last - first) / ZEROS + 1;
        for (int32_t z = first; z <= last; z += step) {
            grid->zero_point[c] = z;
            double error = grid_error(grid, c, w, count);
            if (!(error < least)) continue;
            least = error;
            scale = grid->scale[c];
            zero = z;
        }
    }
    grid->scale[c] = scale;
    grid->zero_point[c] = zero;
}

void weighted_start_grid(const QNode *q, float *scale, int32_t *zero) {
    Arena *arena = arena_new();
    Tape tape = {.arena = arena};
    Folded folded = weighted_fold(&tape, q, q->batchnorm);
    QParams *grid = &folded.grid;
    size_t count = folded.weight->count / (size_t)grid->channels;
    for (int c = 0; c < grid->channels; c++) {
        best_grid(grid, c, zero != NULL, folded.weight->data + (size_t)c * count, count);
        scale[c] = grid->scale[c];
        if (zero) zero[c] = grid->zero_point[c];
    }
    arena_free(arena);
}
