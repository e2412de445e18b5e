/* The least and the greatest of many floats. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct Extremes {
    float lo, hi; /* of no values: infinity, -infinity */
    bool finite;  /* no value is NaN or infinite; if one is, lo and hi say nothing */
} Extremes;

Extremes extremes_of(const float *x, size_t count);
