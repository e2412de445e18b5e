#include "quant/e4m3.h"

#include <math.h>

#include "quant/qparams.h"

float e4m3_round(float x) {
    if (isnan(x)) return x;
    x = clamp_float(x, -E4M3_MOST, E4M3_MOST);
    int exponent = fabsf(x) < 0x1p-6f ? -6 : ilogbf(x); /* below 2^-6 the steps stay 2^-9 */
    float step = ldexpf(1, exponent - 3);
    return step * round_half_even(x / step);
}

bool fake_e4m3_quant(const float *x, size_t count, float amax, float *y, Error *error) {
    if (!(amax >= 0) || isinf(amax))
        return error_set(error, ERROR_INPUT, "amax is %g, expected a finite number from 0 on",
                         (double)amax);
    for (size_t i = 0; i < count; i++)
        if (isnan(x[i])) return error_set(error, ERROR_INPUT, "element %zu is NaN", i);
    float times = E4M3_MOST / amax;
    for (size_t i = 0; i < count; i++)
        y[i] = amax <= 0x1p-24f ? 0 : e4m3_round(x[i] * times) / times;
    return true;
}
