/* cblas_sgemm with the cases it leaves undefined handled here, and held to the calling thread: our
 * own pool shares out the work, and a sum that BLAS splits by threads would change with their
 * number. */
#include "autograd/kernels/gemm.h"

#include <cblas.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "autograd/error.h"

static void hold_to_one_thread(void) {
    openblas_set_num_threads(1);
}

static void scale(int m, int n, float beta, float *c, int stride) {
    for (int i = 0; i < m; i++, c += stride) {
        if (beta == 0.0f)
            memset(c, 0, sizeof *c * (size_t)n);
        else
            for (int j = 0; j < n; j++) c[j] *= beta;
    }
}

void gemm(int m, int n, int k, Mat a, Mat b, float beta, float *c, int stride) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, hold_to_one_thread);

    CHECK(m >= 0 && n >= 0 && k >= 0, "gemm of %d x %d x %d", m, n, k);
    if (m == 0 || n == 0) return;
    if (k == 0) {
        scale(m, n, beta, c, stride);
        return;
    }
    CHECK(a.stride >= (a.transposed ? m : k), "a: rows of %d, stride %d", a.transposed ? m : k,
          a.stride);
    CHECK(b.stride >= (b.transposed ? k : n), "b: rows of %d, stride %d", b.transposed ? k : n,
          b.stride);
    CHECK(stride >= n, "c: rows of %d, stride %d", n, stride);
    cblas_sgemm(CblasRowMajor, a.transposed ? CblasTrans : CblasNoTrans,
                b.transposed ? CblasTrans : CblasNoTrans, m, n, k, 1.0f, a.data, a.stride, b.data,
                b.stride, beta, c, stride);
}
