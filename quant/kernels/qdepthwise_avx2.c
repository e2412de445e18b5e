/* The integer depthwise convolution with AVX2, equal to the scalar one byte for byte.
 *
 * 8 channels at a time. The bytes of two taps are interleaved and widened, so that vpmaddwd adds
 * x[t][c] w[c][t] + x[t+1][c] w[c][t+1] in the int32 lane of channel c. An odd last tap goes with a
 * second one of weight 0. */
#include "quant/kernels/lanes_avx2.h"
#include "quant/kernels/qdepthwise.h"

static size_t count_of_pairs(const QDepthwise *q) {
    return ((size_t)q->taps + 1) / 2;
}
static size_t count_of_lanes(const QDepthwise *q) {
    return ((size_t)q->channels + LANES - 1) / LANES;
}

/* packed: Lanes[count_of_lanes], then int16 [count_of_lanes][pairs][LANES][2] */
static size_t avx2_packed_bytes(const QDepthwise *q) {
    return count_of_lanes(q) * (sizeof(Lanes) + count_of_pairs(q) * LANES * 2 * sizeof(int16_t));
}

static int16_t weight_or_zero(const QDepthwise *q, size_t c, size_t t) {
    size_t taps = (size_t)q->taps;
    if (c >= (size_t)q->channels || t >= taps) return 0;
    int32_t zero = q->weight_zero ? q->weight_zero[c] : 0;
    return (int16_t)(q->weight[c * taps + t] - zero);
}

static void avx2_pack(const QDepthwise *q, void *packed) {
    size_t lanes = count_of_lanes(q), pairs = count_of_pairs(q);
    Lanes *constants = packed;
    int16_t *w = (int16_t *)(constants + lanes);
    for (size_t i = 0; i < lanes; i++) {
        lanes_pack(&constants[i], q->channels - (int)i * LANES, q->bias + i * LANES,
                   q->multiplier + i * LANES, q->zero);
        for (size_t t = 0; t < 2 * pairs; t += 2)
            for (size_t c = i * LANES; c < (i + 1) * LANES; c++) {
                *w++ = weight_or_zero(q, c, t);
                *w++ = weight_or_zero(q, c, t + 1);
            }
    }
}

/* The 8 sums from channel `first` on; w is [pairs][LANES][2]. */
static inline __m256i sum_of(const QDepthwise *q, size_t first, size_t left, const int16_t *w,
                             const Lanes *lanes, const uint8_t *const *x) {
    __m256i acc = load(lanes->bias);
    for (int t = 0; t < q->taps; t += 2, w += 2 * LANES) {
        __m128i even = lanes_load(x[t] + first, left);
        __m128i odd = t + 1 < q->taps ? lanes_load(x[t + 1] + first, left) : even;
        __m256i pairs = _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(even, odd));
        acc = _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, load(w)));
    }
    return acc;
}

static void avx2_run(const QDepthwise *q, int places, const uint8_t *const *x, uint8_t *y,
                     size_t y_stride) {
    size_t channels = (size_t)q->channels, pairs = count_of_pairs(q);
    const Lanes *lanes = q->packed;
    const int16_t *weights = (const int16_t *)(lanes + count_of_lanes(q));
    __m256i lo = _mm256_set1_epi32(q->lo), hi = _mm256_set1_epi32(q->hi);
    for (int p = 0; p < places; p++, x += q->taps, y += y_stride)
        for (size_t c = 0; c < channels; c += LANES) {
            const int16_t *w = weights + c * pairs * 2;
            __m256i acc = sum_of(q, c, channels - c, w, &lanes[c / LANES], x);
            lanes_store(y + c, channels - c, lanes_requantize(&lanes[c / LANES], acc, lo, hi));
        }
}

static bool avx2_usable(void) {
    return __builtin_cpu_supports("avx2");
}

const QDepthwiseKernel qdepthwise_avx2 = {
    .name = "avx2",
    .usable = avx2_usable,
    .packed_bytes = avx2_packed_bytes,
    .pack = avx2_pack,
    .run = avx2_run,
};
