/* The grids of weights: which reals the codes of each output stand for. */
#include <float.h>

#include "quant/fold.h"
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
            if (q->weight_zero) grid.zero_point[c] = (int32_t)q->weight_zero->data[c];
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
        float *scale = &grid.scale[channels == 1 ? 0 : o];
        if (*scale < least) *scale = least;
    }
    for (int c = 0; c < channels; c++)
        if (grid.scale[c] < FLT_MIN) grid.scale[c] = 1; /* nothing is left, or next to nothing */
    return grid;
}

/* The largest scale with the least squared error of rounding and clamping w[count], among 64ths of
 * `top`, which clamps nothing. */
static float best_scale(const float *w, size_t count, float top, float qmax) {
    enum { TRIES = 64 };
    double least = INFINITY;
    float best = top;
    for (int i = TRIES; i > 0; i--) {
        float scale = top * (float)i / TRIES;
        double sum = 0;
        for (size_t k = 0; k < count; k++) {
            float error = scale * clamp_float(code_unclamped(w[k], scale, 0), -qmax, qmax) - w[k];
            sum += (double)error * (double)error;
        }
        if (sum < least) {
            least = sum;
            best = scale;
        }
    }
    return best;
}

void weighted_start_scale(const QNode *q, float *scale) {
    Arena *arena = arena_new();
    Tape tape = {.arena = arena};
    Folded folded = weighted_fold(&tape, q, q->batchnorm);
    const QParams *grid = &folded.grid;
    size_t count = folded.weight->count / (size_t)grid->channels;
    for (int c = 0; c < grid->channels; c++)
        scale[c] = best_scale(folded.weight->data + (size_t)c * count, count, grid->scale[c],
                              (float)grid->qmax);
    arena_free(arena);
}
