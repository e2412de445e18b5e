#include "quant/kernels/qadd.h"

const QAddKernel *const qadd_kernels[] = {&qadd_avx2, &qadd_scalar, NULL};

const QAddKernel *qadd_kernel(void) {
    const QAddKernel *const *kernel = qadd_kernels;
    while (!(*kernel)->usable()) kernel++; /* ends: the scalar kernel always is */
    return *kernel;
}
