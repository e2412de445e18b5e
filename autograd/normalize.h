/* Pixels as a net sees them. Loader and integer engine both call this one function, so that both see the same. */
#pragma once

#include <stdint.h>

/* (p / 255 - mean) / std */
static inline float normalize_byte(uint8_t p, float mean, float std) {
    return ((float)p / 255.0f - mean) / std;
}
