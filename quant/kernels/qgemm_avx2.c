/* The integer matrix product with AVX2, equal to the scalar one byte for byte.
 *
 * vpmaddwd multiplies 16-bit lanes and adds neighbours: x[k] w[k] + x[k+1] w[k+1] in one int32
 * lane, exact for bytes (at most 2 * 255 * 255). So everything runs in pairs of k, with weights and
 * activations widened to 16 bits. A tile of 6 rows x 16 outputs keeps its 12 sums in registers;
 * with 2 for weights, 1 for the pair and 1 for the product that makes all 16. */
#include <stdint.h>

typedef uint16_t Element;
typedef int16_t Weight;
enum { STEP = 2 };
#define VECTORS       2
#define TILE(vectors) 6
#include "quant/kernels/qgemm_lanes.h"

static inline void tile_of(int rows, int vectors, const Panel *panel, const Element *const *x,
                           int32_t *sums) {
    __m256i acc[TILE(VECTORS)][VECTORS];
    const Weight *w = panel->w;
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) acc[r][v] = load(panel->lanes[v].bias);
    for (int j = 0; j < panel->q->runs; j++) {
        size_t k = panel->run[j], end = k + (size_t)panel->q->run;
        for (; k < end; k += STEP, w += vectors * LANES * STEP) {
            __m256i left = load(w), right = vectors > 1 ? load(w + LANES * STEP) : left;
#pragma GCC unroll 6
            for (int r = 0; r < rows; r++) {
                __m256i pair = broadcast(x[r] + k);
                acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(pair, left));
                if (vectors > 1)
                    acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(pair, right));
            }
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++)
            _mm256_storeu_si256((__m256i *)(sums + (r * vectors + v) * LANES), acc[r][v]);
}

static bool avx2_usable(void) {
    return __builtin_cpu_supports("avx2");
}
static bool avx2_fits(const QGemm *q) {
    return (void)q, true;
}

const QGemmKernel qgemm_avx2 = {
    .name = "avx2",
    .element = sizeof(Element),
    .usable = avx2_usable,
    .fits = avx2_fits,
    .packed_bytes = lanes_packed_bytes,
    .pack = lanes_pack_all,
    .run = lanes_run,
    .accumulate = lanes_accumulate,
};
