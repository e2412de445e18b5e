/* mse: the range with the least squared rounding and clamping error,
 *     sum over bins of count (S (q(x) - Z) - x)^2,
 * with the very N1 to N3 that will quantize. Each end is tried at 128ths of the extreme, the ends
 * in turn until neither moves: the error is nearly convex in each. */
#include "quant/method.h"

enum { TRIES = 128, ROUNDS = 4 };

typedef struct Search {
    Bins bins;
    QParams q;
    bool symmetric;
} Search;

static double error_of(Search *s, float lo, float hi) {
    qparams_set_range(&s->q, 0, s->symmetric, lo, hi);
    float scale = s->q.scale[0], zero = (float)s->q.zero_point[0];
    float qmin = (float)s->q.qmin, qmax = (float)s->q.qmax;
    double sum = 0;
    for (int i = 0; i < s->bins.bins; i++) {
        float x = s->bins.value[i];
        float y = scale * (clamp_float(code_unclamped(x, scale, zero), qmin, qmax) - zero);
        sum += s->bins.count[i] * (double)(y - x) * (double)(y - x);
    }
    return sum;
}

/* Moves *end through the fractions of `extreme`; true if a better place was found. */
static bool improve(Search *s, float *end, float extreme, const float *lo, const float *hi,
                    double *best) {
    float place = *end;
    bool moved = false;
    for (int i = 1; i <= TRIES; i++) {
        *end = extreme * (float)i / TRIES;
        double error = error_of(s, *lo, *hi);
        if (error < *best) {
            *best = error;
            place = *end;
            moved = true;
        }
    }
    *end = place;
    return moved;
}

static void range(const Observer *seen, const RangeSpec *spec, float *lo, float *hi) {
    Arena *arena = arena_new();
    Search *s = arena_alloc(arena, sizeof *s);
    bins_of(seen->histogram, &s->bins);
    s->q = qparams_new(arena, &spec->codes, 1);
    s->symmetric = spec->codes.symmetric;
    *lo = seen->min < 0 ? seen->min : 0;
    *hi = seen->max > 0 ? seen->max : 0;
    if (s->symmetric) { /* one number: the larger end */
        *hi = fmaxf(-*lo, *hi);
        *lo = 0;
    }
    float least = *lo, most = *hi;
    double best = error_of(s, *lo, *hi);
    for (int round = 0; round < ROUNDS; round++) {
        bool moved = most > 0 && improve(s, hi, most, lo, hi, &best);
        moved |= least < 0 && improve(s, lo, least, lo, hi, &best);
        if (!moved) break;
    }
    arena_free(arena);
}

const Method mse_method = {
    .name = "mse",
    .summary = "the range with the least squared error",
    .from_histogram = true,
    .range = range,
};
