/* Pixels as a net sees them. Loader, engines and the integer program's table of input codes all go
 * through this one function, so that all see the same. */
#pragma once

#include <stdint.h>

enum { NORMALIZATION_CHANNELS = 4 };

/* What a net expects at its input. */
typedef struct Normalization {
    int channels; /* 1 .. NORMALIZATION_CHANNELS */
    float mean[NORMALIZATION_CHANNELS], std[NORMALIZATION_CHANNELS]; /* std > 0 */
} Normalization;

static inline float normalize_byte(uint8_t p, float mean, float std) {
    return ((float)p / 255.0f - mean) / std;
}
