#include "quant/kernels/qdepthwise.h"

const QDepthwiseKernel *const qdepthwise_kernels[] = {&qdepthwise_avx2, &qdepthwise_scalar, NULL};

const QDepthwiseKernel *qdepthwise_kernel(void) {
    const QDepthwiseKernel *const *kernel = qdepthwise_kernels;
    while (!(*kernel)->usable()) kernel++; /* ends: the scalar kernel always is */
    return *kernel;
}
