#include "quant/qparams.h"

#include <float.h>

void qparams_codes(QParams *q, const QuantSpec *spec) {
    int32_t half = 1 << (spec->bits - 1);
    q->qmin = spec->is_signed ? -half + (spec->symmetric && !spec->full_range) : 0;
    q->qmax = spec->is_signed ? half - 1 : 2 * half - 1;
}

QParams qparams_new(Arena *arena, const QuantSpec *spec, int channels) {
    CHECK(spec->bits >= BITS_LEAST && spec->bits <= BITS_SIMULATED && channels > 0,
          "%d bits, %d channels", spec->bits, channels);
    QParams q = {.channels = channels};
    qparams_codes(&q, spec);
    q.scale = arena_alloc(arena, sizeof *q.scale * (size_t)channels);
    q.zero_point = arena_zeros(arena, sizeof *q.zero_point * (size_t)channels);
    for (int c = 0; c < channels; c++) q.scale[c] = 1;
    return q;
}

void spec_range(const QuantSpec *spec, float *lo, float *hi) {
    if (spec->amax > 0) {
        *lo = -spec->amax;
        *hi = spec->amax;
    }
    if (spec->scale_amax > 0) {
        *lo = clamp_float(*lo * spec->scale_amax, -FLT_MAX, FLT_MAX);
        *hi = clamp_float(*hi * spec->scale_amax, -FLT_MAX, FLT_MAX);
    }
}

static int32_t zero_point(const QParams *q, double lo, double scale) {
    return (int32_t)fmin(fmax(rint(q->qmin - lo / scale), q->qmin), q->qmax);
}

void qparams_set_range(QParams *q, int c, bool symmetric, float lo_value, float hi_value) {
    CHECK(lo_value <= hi_value && isfinite(lo_value) && isfinite(hi_value), "range %g to %g",
          (double)lo_value, (double)hi_value);
    double lo = fmin(lo_value, 0), hi = fmax(hi_value, 0);
    double range = symmetric ? fmax(-lo, hi) / q->qmax : (hi - lo) / (q->qmax - q->qmin);
    bool nothing = range == 0;
    if (nothing) range = 1;
    if (range < (double)FLT_MIN) range = (double)FLT_MIN; /* never 0 or denormal as a float */
    q->scale[c] = (float)range;
    q->zero_point[c] = symmetric || nothing ? 0 : zero_point(q, lo, range);
}

void qparams_widen(QParams *q, int c, bool symmetric, float lo, float scale) {
    q->scale[c] = scale;
    if (!symmetric) q->zero_point[c] = zero_point(q, fmin(lo, 0), scale);
}

bool tensor_quant(const float *x, size_t count, float amax, int bits, bool is_unsigned,
                  float *codes, float *scale, Error *error) {
    float bound = (float)((1 << (bits - 1 + is_unsigned)) - 1);
    if (!(amax >= 0 && amax <= FLT_MAX))
        return error_set(error, ERROR_INPUT, "amax %g is negative or not finite", (double)amax);
    *scale = amax <= 0x1p-24f ? 1 : bound / amax;
    for (size_t i = 0; i < count; i++) {
        if (isnan(x[i])) return error_set(error, ERROR_INPUT, "element %zu is NaN", i);
        if (is_unsigned && x[i] < 0)
            return error_set(error, ERROR_INPUT, "element %zu is %g, but the codes are unsigned", i,
                             (double)x[i]);
        float code = amax <= 0x1p-24f ? 0 : round_half_even(x[i] * *scale);
        codes[i] = clamp_float(code, is_unsigned ? 0 : -bound, bound);
    }
    return true;
}

bool fake_tensor_quant(const float *x, size_t count, float amax, int bits, bool is_unsigned,
                       float *y, Error *error) {
    float scale;
    if (!tensor_quant(x, count, amax, bits, is_unsigned, y, &scale, error)) return false;
    for (size_t i = 0; i < count; i++) y[i] /= scale;
    return true;
}
