/* The integer matrix product with AVX2 for weights of at most 6 bits, equal to the scalar one byte
 * for byte.
 *
 * vpmaddubsw adds two products of an unsigned and a signed byte in 16 bits, where it saturates: for
 * weights of 8 bits it is wrong. But with |w| <= m a pair is at most 2 * 255 * m, and
 *
 *     n = floor(128 / 2m)    of them together at most 255 * 128 = 32640 < 2^15.
 *
 * So n steps are added in 16-bit lanes (18 for 3 bits, 9 for 4, 4 for 5, 2 for 6) before vpmaddwd
 * by ones widens them to the int32 sums, which stay in memory meanwhile. That is 4 products for
 * each instruction's lane as against 2, and no widening of activations. */
#include <stdint.h>

typedef uint8_t Element;
typedef int8_t Weight;
enum { STEP = 4 };
#define VECTORS       2
#define TILE(vectors) 6
#include "quant/kernels/qgemm_lanes.h"

/* Steps whose sums fit 16 bits. */
static int steps_that_fit(const QGemm *q) {
    int32_t most = 1;
    for (size_t o = 0; o < (size_t)q->outputs; o++)
        for (size_t j = 0; j < (size_t)q->runs; j++)
            for (size_t k = 0; k < (size_t)q->run; k++) {
                int32_t w = weight_at(q, o, j, k);
                if (w < 0) w = -w;
                if (w > most) most = w;
            }
    return 128 / (2 * most);
}

/* packed: as in the frame, then how many steps fit */
static size_t narrow_packed_bytes(const QGemm *q) {
    return lanes_packed_bytes(q) + sizeof(int32_t);
}
static int32_t *steps_in(const QGemm *q, const void *packed) {
    return (int32_t *)((uintptr_t)packed + lanes_packed_bytes(q));
}

static void narrow_pack(const QGemm *q, void *packed) {
    lanes_pack_all(q, packed);
    *steps_in(q, packed) = steps_that_fit(q);
}

/* Adds the 16-bit sums to those in memory, or at first to the biases, and clears them. */
static inline __attribute__((always_inline)) void flush(int rows, int vectors, bool first,
                                                        const Lanes *lanes,
                                                        __m256i part[TILE(VECTORS)][VECTORS],
                                                        int32_t *sums) {
    __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++, sums += LANES) {
            __m256i before = load(first ? lanes[v].bias : sums);
            __m256i sum = _mm256_add_epi32(before, _mm256_madd_epi16(part[r][v], ones));
            _mm256_storeu_si256((__m256i *)sums, sum);
            part[r][v] = _mm256_setzero_si256();
        }
}

static inline void tile_of(int rows, int vectors, const Panel *panel, const Element *const *x,
                           int32_t *sums) {
    const QGemm *q = panel->q;
    __m256i part[TILE(VECTORS)][VECTORS];
    const Weight *w = panel->w;
    const size_t fit = (size_t)*steps_in(q, q->packed);
    size_t left = fit;
    bool first = true;
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) part[r][v] = _mm256_setzero_si256();
    for (int j = 0; j < q->runs; j++) {
        size_t k = panel->run[j], steps = count_of_steps(q);
        while (steps) {
            if (left == 0) {
                flush(rows, vectors, first, panel->lanes, part, sums);
                first = false;
                left = fit;
            }
            size_t some = steps < left ? steps : left;
            steps -= some;
            left -= some;
            for (; some; some--, k += STEP, w += vectors * LANES * STEP) {
                __m256i w0 = load(w), w1 = vectors > 1 ? load(w + LANES * STEP) : w0;
#pragma GCC unroll 6
                for (int r = 0; r < rows; r++) {
                    __m256i bytes = broadcast(x[r] + k);
                    part[r][0] = _mm256_add_epi16(part[r][0], _mm256_maddubs_epi16(bytes, w0));
                    if (vectors > 1)
                        part[r][1] = _mm256_add_epi16(part[r][1], _mm256_maddubs_epi16(bytes, w1));
                }
            }
        }
    }
    flush(rows, vectors, first, panel->lanes, part, sums);
}

static bool avx2_usable(void) {
    return __builtin_cpu_supports("avx2");
}
/* Rows too short for one full 16-bit sum are faster in 32 bits at once. */
static bool narrow_fits(const QGemm *q) {
    int fit = steps_that_fit(q);
    return fit >= 2 && (size_t)q->runs * count_of_steps(q) >= (size_t)fit;
}

const QGemmKernel qgemm_narrow_avx2 = {
    .name = "narrow-avx2",
    .element = sizeof(Element),
    .usable = avx2_usable,
    .fits = narrow_fits,
    .packed_bytes = narrow_packed_bytes,
    .pack = narrow_pack,
    .run = lanes_run,
    .accumulate = lanes_accumulate,
};
