#include "quant/kernels/qgemm.h"

const QGemmKernel *const qgemm_kernels[] = {&qgemm_avx2, &qgemm_scalar, NULL};

const QGemmKernel *qgemm_kernel(void) {
    const QGemmKernel *const *kernel = qgemm_kernels;
    while (!(*kernel)->usable()) kernel++; /* ends: the scalar kernel always is */
    return *kernel;
}
