/* Requantizing 8 sums at a time, for the AVX2 kernels; equal to requantize() of each.
 *
 * AVX2 has no arithmetic shift of 64-bit lanes. With 2^63 added first a logical one does:
 *     floor(v / 2^n) = ((v + 2^63) >> n) - 2^(63-n).
 * Adding 2^63 + 2^(n-1) rounds as well, and subtracting 2^(63-n) - zero adds the zero point; of the
 * result only 32 bits are wanted, so they are subtracted in 32-bit lanes.
 *
 * To be clamped in 32-bit lanes the code must fit them, which for n < 32 it might not. So the sum
 * is first held within +-2^(n+30) / m0: at these bounds the code is beyond +-2^29, far outside a
 * byte, and still within +-2^31. */
#pragma once

#include "quant/fixedpoint.h"

#include <immintrin.h>
#include <stddef.h>
#include <string.h>

enum { LANES = 8 };

/* The constants of 8 outputs; those of 64 bits split as the products are, even lanes and odd. */
typedef struct Lanes {
    int32_t bias[LANES];
    int32_t least[LANES], most[LANES]; /* bounds of the sum */
    int64_t m0[2][LANES / 2], shift[2][LANES / 2];
    uint64_t before[2][LANES / 2]; /* added before the shift ... */
    uint32_t after[LANES];         /* ... and subtracted behind it */
} Lanes;

/* From `count` outputs' bias and multiplier; lanes beyond count give the code zero. */
static inline void lanes_pack(Lanes *lanes, int count, const int32_t *bias,
                              const Multiplier *multiplier, int32_t zero) {
    for (int i = 0; i < LANES; i++) {
        Multiplier m = i < count ? multiplier[i] : (Multiplier){0, 1};
        bool fits = m.shift >= 32 || m.m0 == 0;
        int64_t most = fits ? INT32_MAX : ((int64_t)1 << (m.shift + 30)) / m.m0;
        if (most > INT32_MAX) most = INT32_MAX;
        lanes->bias[i] = i < count ? bias[i] : 0;
        lanes->most[i] = (int32_t)most;
        lanes->least[i] = (int32_t)(-most - 1);
        lanes->m0[i % 2][i / 2] = m.m0;
        lanes->shift[i % 2][i / 2] = m.shift;
        lanes->before[i % 2][i / 2] = ((uint64_t)1 << 63) + ((uint64_t)1 << (m.shift - 1));
        lanes->after[i] = (uint32_t)((uint64_t)1 << (63 - m.shift)) - (uint32_t)zero;
    }
}

static inline __m256i load(const void *p) {
    return _mm256_loadu_si256(p);
}

/* The rounded product of the even or odd lanes, and 2^(63-n), in 64 bits. */
static inline __m256i lanes_scale(const Lanes *lanes, __m256i acc, int odd) {
    __m256i product = _mm256_mul_epi32(acc, load(lanes->m0[odd]));
    __m256i v = _mm256_add_epi64(product, load(lanes->before[odd]));
    return _mm256_srlv_epi64(v, load(lanes->shift[odd]));
}

/* 8 sums -> 8 codes, in the low 8 bytes. */
static inline __m128i lanes_requantize(const Lanes *lanes, __m256i acc, __m256i lo, __m256i hi) {
    acc = _mm256_max_epi32(_mm256_min_epi32(acc, load(lanes->most)), load(lanes->least));
    __m256i even = lanes_scale(lanes, acc, 0);
    __m256i odd = lanes_scale(lanes, _mm256_srli_epi64(acc, 32), 1);
    __m256i q = _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xaa);
    q = _mm256_sub_epi32(q, load(lanes->after));
    q = _mm256_min_epi32(_mm256_max_epi32(q, lo), hi);
    __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(q), _mm256_extracti128_si256(q, 1));
    return _mm_packus_epi16(words, words);
}

/* 8 bytes, or as many as are left. */
static inline __m128i lanes_load(const uint8_t *x, size_t left) {
    if (left >= LANES) return _mm_loadl_epi64((const __m128i *)x);
    uint64_t bytes = 0;
    memcpy(&bytes, x, left);
    return _mm_cvtsi64_si128((int64_t)bytes);
}

/* The first of 8 codes, as many as there are outputs left. */
static inline void lanes_store(uint8_t *y, size_t left, __m128i codes) {
    if (left >= LANES)
        _mm_storel_epi64((__m128i *)y, codes);
    else
        memcpy(y, &codes, left);
}
