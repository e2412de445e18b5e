#include "quant/fixedpoint.h"

#include <math.h>

bool multiplier_from(double m, Multiplier *out) {
    if (!isfinite(m) || m <= 0) return false;
    int exponent;
    double fraction = frexp(m, &exponent); /* m = fraction * 2^exponent, fraction in [1/2, 1) */
    int64_t m0 = llrint(ldexp(fraction, 31));
    if (m0 == (int64_t)1 << 31) { /* the fraction was rounded up to 1 */
        m0 /= 2;
        exponent++;
    }
    int shift = 31 - exponent;
    if (shift < 1) return false;
    *out = shift > 62 ? (Multiplier){0, 62} : (Multiplier){(int32_t)m0, shift};
    return true;
}

bool multipliers_joint(int n, const double m[], Multiplier out[]) {
    int shift = 62; /* the larger the factor, the smaller its shift: the largest decides */
    for (int i = 0; i < n; i++) {
        Multiplier alone;
        if (!multiplier_from(m[i], &alone)) return false;
        if (alone.shift < shift) shift = alone.shift;
    }
    for (int i = 0; i < n; i++) out[i] = (Multiplier){(int32_t)llrint(ldexp(m[i], shift)), shift};
    return n > 0;
}
