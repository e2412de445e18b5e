/* A real factor as two integers, and the one rounding between accumulators and codes.
 *
 * A layer's int32 sums have the scale S_x S_w; its output codes have the scale S_y. The way from
 * one to the other is the factor M = S_x S_w / S_y, which an integer program writes as
 *
 *     M ~ m0 * 2^-shift,   2^30 <= m0 < 2^31,   1 <= shift <= 62
 *     q = clamp(zero + floor(acc * m0 / 2^shift + 1/2), lo, hi)
 *
 * m0 always uses its 31 bits, so M's relative error is at most 2^-31, for M above 1 as well as
 * below. The product is formed in 64 bits and rounded once, half up (toward +infinity, for negative
 * ties too). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct Multiplier {
    int32_t m0;    /* in [2^30, 2^31) or 0; made jointly with others, any of 0 .. 2^31-1 */
    int32_t shift; /* 1 .. 62 */
} Multiplier;

/* m > 0 rounded once. M below 2^-32 becomes {0, 62}, which loses nothing: such an M takes every
 * int32 to 0. False, with *out as it was, when m is not positive or not below 2^30, rounded. */
bool multiplier_from(double m, Multiplier *out);

/* The factors of a sum of n inputs that is rounded once: the shift is that of the largest, which
 * has its 31 bits (unless all are below 2^-32: then it is 62); the others are rounded once at the
 * same shift, possibly to 0. The sum is round_shift(sum over i of q[i] * m0[i], shift). False, with
 * out as it was, when n < 1 or multiplier_from would refuse one of them. */
bool multipliers_joint(int n, const double m[], Multiplier out[]);

/* floor(v / 2^shift + 1/2) for |v| <= 2^62 and 1 <= shift <= 62: no step leaves 64 bits. (>> of a
 * negative number is arithmetic in every compiler we know; C leaves it to them.) */
static inline int64_t round_shift(int64_t v, int shift) {
    return (v + ((int64_t)1 << (shift - 1))) >> shift;
}

static inline int32_t clamp_code(int64_t q, int32_t lo, int32_t hi) {
    return q < lo ? lo : q > hi ? hi : (int32_t)q;
}

/* The output code of a sum. It is clamped in 64 bits: any acc and zero are fine. */
static inline int32_t requantize(int32_t acc, Multiplier m, int32_t zero, int32_t lo, int32_t hi) {
    return clamp_code(zero + round_shift((int64_t)acc * m.m0, m.shift), lo, hi);
}
