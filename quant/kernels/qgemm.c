#include "quant/kernels/qgemm.h"

#include <stdlib.h>
#include <string.h>

const QGemmKernel *const qgemm_kernels[] = {&qgemm_vnni, &qgemm_narrow_avx2, &qgemm_avx2,
                                            &qgemm_scalar, NULL};

static bool serves(const QGemmKernel *kernel, const QGemm q[], int count) {
    if (!kernel->usable()) return false;
    for (int i = 0; i < count; i++)
        if (!kernel->fits(&q[i])) return false;
    return true;
}

static bool left_out(const QGemmKernel *kernel) {
    const char *names = getenv("STAIR_WITHOUT");
    size_t length = strlen(kernel->name);
    while (names && *names) {
        size_t word = strcspn(names, ",");
        if (word == length && memcmp(names, kernel->name, word) == 0) return true;
        names += word + (names[word] == ',');
    }
    return false;
}

const QGemmKernel *qgemm_kernel(const QGemm q[], int count) {
    const QGemmKernel *const *kernel = qgemm_kernels;
    while (kernel[1] && (left_out(*kernel) || !serves(*kernel, q, count))) kernel++;
    return *kernel; /* the scalar kernel, last, always serves */
}
