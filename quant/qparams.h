/* The numbers of quantization: r = S (q - Z). Rules N1 to N3 of the contract (docs/contract.md),
 * each one routine, called by observers, fake quantization, freezing, both integer engines and
 * every export. */
#pragma once

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "autograd/arena.h"
#include "autograd/error.h"

enum { BITS_LEAST = 2, BITS_MOST = 8, BITS_SIMULATED = 16 };

/* How the values of one tensor are to be quantized. Zeros in the later fields are what one wants
 * without asking. */
typedef struct QuantSpec {
    int bits;         /* 2 to 8; up to 16 to simulate only: integers have at most 8 */
    bool is_signed;   /* codes around zero, or from zero up */
    bool symmetric;   /* Z = 0 */
    bool per_channel; /* one scale for each output channel */
    bool full_range;  /* signed and symmetric: the lowest code, -2^(b-1), too; all others have it */
    float amax;       /* > 0: the range is [-amax, amax], whatever was seen; 0: it is observed */
    float scale_amax; /* > 0: multiplies the range; 0: as 1 */
    const struct Method *method; /* of choosing the range; NULL: the net's */
} QuantSpec;

typedef struct QParams {
    int channels;        /* 1: per tensor */
    float *scale;        /* [channels], > 0 */
    int32_t *zero_point; /* [channels], in [qmin, qmax] */
    int32_t qmin, qmax;
} QParams;

/* Memory for `channels` scales (1) and zero points (0), with the codes of the spec: unsigned 0 ..
 * 2^b-1, signed -2^(b-1) .. 2^(b-1)-1, signed and symmetric without the lowest unless full_range.
 * Owned by the arena. */
QParams qparams_new(Arena *arena, const QuantSpec *spec, int channels);
/* The same for scales that are there: the codes become the spec's. */
void qparams_codes(QParams *q, const QuantSpec *spec);

/* What the spec makes of a range that was chosen: its own amax in its place, times scale_amax;
 * finite. */
void spec_range(const QuantSpec *spec, float *lo, float *hi);

/* N3: the scale and zero point of channel c for values in [lo, hi], lo <= hi, both finite. The
 * range is widened to hold 0. A range of nothing gives S = 1, Z = 0. */
void qparams_set_range(QParams *q, int c, bool symmetric, float lo, float hi);

/* A coarser scale for channel c, whose values begin at `lo`; the zero point follows. */
void qparams_widen(QParams *q, int c, bool symmetric, float lo, float scale);

/* Nearest whole number, ties to even, for every float; NaN stays. It is rintf without the library
 * call: adding 2^23 leaves no bits for a fraction, so the addition itself rounds. */
static inline float round_half_even(float x) {
    float big = copysignf(0x1p23f, x);
    return fabsf(x) < 0x1p23f ? copysignf((x + big) - big, x) : x;
}

static inline float clamp_float(float x, float lo, float hi) { /* NaN gives lo */
    x = x > lo ? x : lo;
    return x < hi ? x : hi;
}

/* The code before it is clamped, as a float; huge values saturate far outside of any code. */
static inline float code_unclamped(float x, float scale, float zero_point) {
    return round_half_even(clamp_float(x / scale, -0x1p22f, 0x1p22f)) + zero_point;
}

/* N1. x must not be NaN. */
static inline int32_t quantize(const QParams *q, int c, float x) {
    float code = code_unclamped(x, q->scale[c], (float)q->zero_point[c]);
    return (int32_t)clamp_float(code, (float)q->qmin, (float)q->qmax);
}

/* N2. */
static inline float dequantize(const QParams *q, int c, int32_t code) {
    return q->scale[c] * (float)(code - q->zero_point[c]);
}

/* N4: the int32 code of a bias, S_b = S_x S_w, Z = 0; |code| <= 2^30 by bias_scale_floor. */
static inline int32_t quantize_bias(float bias, float input_scale, float weight_scale) {
    float step =
        input_scale * weight_scale; /* 0: nothing that matters is so small, and 0 / 0 is no code */
    float code = step > 0 ? round_half_even(bias / step) : 0;
    return (int32_t)clamp_float(code, -0x1p30f, 0x1p30f);
}

/* N3: the least weight scale with which the bias's code stays below 2^30; dead channels get it. */
static inline float bias_scale_floor(float bias, float input_scale) {
    return fabsf(bias) / input_scale * 0x1.00001p-30f;
}

/* tensor_quant of NVIDIA's toolkit: symmetric codes of x[count] for the range [-amax, amax]
 * (unsigned: [0, amax]), and the multiplier bound / amax. amax at most 2^-24 gives codes 0 and
 * scale 1. ERROR_INPUT for an amax that is negative or not finite, for NaN in x, and for negative x
 * when unsigned. */
bool tensor_quant(const float *x, size_t count, float amax, int bits, bool is_unsigned,
                  float *codes, float *scale, Error *error);
/* The same, divided by the scale again. */
bool fake_tensor_quant(const float *x, size_t count, float amax, int bits, bool is_unsigned,
                       float *y, Error *error);
