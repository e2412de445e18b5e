/* The matrix product; the only file that knows BLAS. All matrices are row-major. */
#pragma once

#include <stdbool.h>

typedef struct Mat {
    const float *data;
    int stride;      /* floats from one stored row to the next */
    bool transposed; /* read the stored rows as columns */
} Mat;

static inline Mat mat(const float *data, int stride) {
    return (Mat){data, stride, false};
}
static inline Mat mat_t(const float *data, int stride) {
    return (Mat){data, stride, true};
}

/* c[m,n] = a[m,k] b[k,n] + beta c, c with `stride` floats a row. beta 0 does not read c. Runs on
 * the calling thread alone. A zero m, n or k is allowed (k 0: c = beta c). */
void gemm(int m, int n, int k, Mat a, Mat b, float beta, float *c, int stride);
