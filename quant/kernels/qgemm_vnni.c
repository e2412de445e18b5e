/* The integer matrix product with AVX-512's vector neural network instructions, equal to the scalar
 * one byte for byte.
 *
 * vpdpbusd adds four products of an unsigned and a signed byte to an int32 lane, with nothing lost
 * on the way: 4 k of 8 outputs in one instruction, where AVX2 takes four. Registers of 256 bits, of
 * which there are 32 here: 40 outputs fill five of them, but only half of the third of 512. */
#include <stdint.h>

typedef uint8_t Element;
typedef int8_t Weight;
enum { STEP = 4 };
#define VECTORS       5
#define TILE(vectors) ((vectors) > 2 ? 5 : 8)
#include "quant/kernels/qgemm_lanes.h"

static inline void tile_of(int rows, int vectors, const Panel *panel, const Element *const *x,
                           int32_t *sums) {
    __m256i acc[8][VECTORS], weight[VECTORS];
    const Weight *w = panel->w;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 5
        for (int v = 0; v < vectors; v++) acc[r][v] = load(panel->lanes[v].bias);
    for (int j = 0; j < panel->q->runs; j++) {
        size_t k = panel->run[j], end = k + (size_t)panel->q->run;
        for (; k < end; k += STEP, w += vectors * LANES * STEP) {
#pragma GCC unroll 5
            for (int v = 0; v < vectors; v++) weight[v] = load(w + v * LANES * STEP);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                __m256i bytes = broadcast(x[r] + k);
#pragma GCC unroll 5
                for (int v = 0; v < vectors; v++)
                    acc[r][v] = _mm256_dpbusd_epi32(acc[r][v], bytes, weight[v]);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 5
        for (int v = 0; v < vectors; v++)
            _mm256_storeu_si256((__m256i *)(sums + (r * vectors + v) * LANES), acc[r][v]);
}

static bool vnni_usable(void) {
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vl");
}

/* Weights less their zero points must be signed bytes: symmetric ones always are. */
static bool vnni_fits(const QGemm *q) {
    size_t depth = (size_t)q->runs * (size_t)q->run;
    for (size_t o = 0; q->weight_zero && o < (size_t)q->outputs; o++)
        for (size_t k = 0; k < depth; k++) {
            int32_t w = q->weight[o * depth + k] - q->weight_zero[o];
            if (w < INT8_MIN || w > INT8_MAX) return false;
        }
    return true;
}

const QGemmKernel qgemm_vnni = {
    .name = "vnni",
    .element = sizeof(Element),
    .usable = vnni_usable,
    .fits = vnni_fits,
    .packed_bytes = lanes_packed_bytes,
    .pack = lanes_pack_all,
    .run = lanes_run,
    .accumulate = lanes_accumulate,
};
