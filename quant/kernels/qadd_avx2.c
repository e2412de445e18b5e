/* The integer sum with AVX2, equal to the scalar one byte for byte.
 *
 * 8 bytes at a time, their products in 64-bit lanes, even and odd. What does not depend on x is one
 * constant: the zero points' products, the rounding, and the 2^63 with which a logical shift does
 * for an arithmetic one (lanes_avx2.h). Then, of v = the sum before the shift as an unsigned
 * number,
 *
 *     q = (v >> shift) - 2^(63 - shift) + zero,
 *
 * whose clamping is done on v >> shift, in 64 bits: with a small shift q need not fit 32. */
#include "quant/kernels/lanes_avx2.h"
#include "quant/kernels/qadd.h"

typedef struct Constants {
    __m256i m0[QADD_MAX_INPUTS], before, lo, hi;
    __m128i shift;
    uint32_t after;
} Constants;

static Constants constants_of(const QAdd *q) {
    uint64_t before = ((uint64_t)1 << 63) + ((uint64_t)1 << (q->shift - 1));
    int64_t origin = (int64_t)((uint64_t)1 << (63 - q->shift)) - q->zero; /* v >> shift of q = 0 */
    Constants c = {.shift = _mm_cvtsi32_si128(q->shift),
                   .lo = _mm256_set1_epi64x(origin + q->lo),
                   .hi = _mm256_set1_epi64x(origin + q->hi),
                   .after = (uint32_t)(uint64_t)origin};
    for (int k = 0; k < q->inputs; k++) {
        before -= (uint64_t)((int64_t)q->m0[k] * q->in_zero[k]);
        c.m0[k] = _mm256_set1_epi32(q->m0[k]);
    }
    c.before = _mm256_set1_epi64x((int64_t)before);
    return c;
}

/* 4 sums to 4 clamped codes, plus c->after, in the low half of 64 bits. v >> shift < 2^63, so that
 * signed comparisons are right. */
static inline __m256i finish(const Constants *c, __m256i v) {
    v = _mm256_srl_epi64(v, c->shift);
    v = _mm256_blendv_epi8(v, c->lo, _mm256_cmpgt_epi64(c->lo, v));
    return _mm256_blendv_epi8(v, c->hi, _mm256_cmpgt_epi64(v, c->hi));
}

/* Code i of each input is in the low byte of 32-bit lane i of x[k]. */
static inline __attribute__((always_inline)) __m128i codes_of(const Constants *c, int inputs,
                                                              const __m256i *x) {
    __m256i even = c->before, odd = c->before;
    for (int k = 0; k < inputs; k++) {
        even = _mm256_add_epi64(even, _mm256_mul_epi32(x[k], c->m0[k]));
        odd = _mm256_add_epi64(odd, _mm256_mul_epi32(_mm256_srli_epi64(x[k], 32), c->m0[k]));
    }
    even = finish(c, even);
    odd = finish(c, odd);
    __m256i q = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
    q = _mm256_sub_epi32(q, _mm256_set1_epi32((int32_t)c->after));
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    return _mm_packus_epi16(words, words);
}

/* `inputs` is q's, a constant where it is two. */
static inline __attribute__((always_inline)) void
run_inputs(const QAdd *q, int inputs, size_t count, const uint8_t *const *x, uint8_t *y) {
    const Constants c = constants_of(q);
    __m256i codes[QADD_MAX_INPUTS];
    for (size_t i = 0; i < count; i += LANES) {
        for (int k = 0; k < inputs; k++)
            codes[k] = _mm256_cvtepu8_epi32(lanes_load(x[k] + i, count - i));
        lanes_store(y + i, count - i, codes_of(&c, inputs, codes));
    }
}

static void avx2_run(const QAdd *q, size_t count, const uint8_t *const *x, uint8_t *y) {
    if (q->inputs == 2)
        run_inputs(q, 2, count, x, y);
    else
        run_inputs(q, q->inputs, count, x, y);
}

static bool avx2_usable(void) {
    return __builtin_cpu_supports("avx2");
}

const QAddKernel qadd_avx2 = {.name = "avx2", .usable = avx2_usable, .run = avx2_run};
