/* The products of planes with AVX2 and FMA. A line is cut into vectors; the last of them ends with
 * the line and overlaps the one before. */
#include "autograd/kernels/plane.h"

#include <immintrin.h>

#include "autograd/kernels/vector.h"

/* --- product: some channels times one or two vectors, whose sums stay in registers --- */

enum { CHANNELS_MOST = 6 };

/* Which lanes of a vector at x = begin another one has not had. */
static inline __m256 fresh_lanes(int x, int begin) {
    __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(lane, _mm256_set1_epi32(x - begin - 1)));
}

/* Vector i of a line begins here: i LANE, but the last with the line's end. */
static inline int vector_begin(const Plane *p, int i) {
    return i * LANE + LANE < p->wide ? i * LANE : p->wide - LANE;
}

/* channels and vectors are constants at every call, as in tile_avx2.c. */
static inline __attribute__((always_inline)) void product_of(int channels, int vectors,
                                                             const Plane *p, const float *w,
                                                             const float *bias, int line, int i,
                                                             float *out, bool add) {
    __m256 sum[CHANNELS_MOST][2], right[2];
    int begin[2] = {vector_begin(p, i), vector_begin(p, i + vectors - 1)};
    const float *in = p->in + p->from[line * p->wide];
#pragma GCC unroll 6
    for (int c = 0; c < channels; c++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) sum[c][v] = _mm256_broadcast_ss(bias + c);
    for (int t = 0; t < p->taps; t++, w += p->w_step) {
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) right[v] = _mm256_loadu_ps(in + p->offset[t] + begin[v]);
#pragma GCC unroll 6
        for (int c = 0; c < channels; c++) {
            __m256 left = _mm256_broadcast_ss(w + c);
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++)
                sum[c][v] = _mm256_fmadd_ps(left, right[v], sum[c][v]);
        }
    }
#pragma GCC unroll 6
    for (int c = 0; c < channels; c++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) {
            float *at = out + (size_t)c * p->step + (size_t)(line * p->wide + begin[v]);
            if (add)
                sum[c][v] =
                    _mm256_add_ps(_mm256_loadu_ps(at),
                                  _mm256_and_ps(sum[c][v], fresh_lanes((i + v) * LANE, begin[v])));
            _mm256_storeu_ps(at, sum[c][v]);
        }
}

/* All lines of some channels. */
static inline __attribute__((always_inline)) void product_lines(int channels, const Plane *p,
                                                                const float *w, const float *bias,
                                                                float *out, bool add) {
    int vectors = (p->wide + LANE - 1) / LANE;
    for (int line = 0; line < p->lines; line++) {
        int i = 0;
        for (; i + 2 <= vectors; i += 2) product_of(channels, 2, p, w, bias, line, i, out, add);
        if (i < vectors) product_of(channels, 1, p, w, bias, line, i, out, add);
    }
}

#define PRODUCT(channels)                                                                          \
    static void product_##channels(const Plane *p, const float *w, const float *bias, float *out,  \
                                   bool add) {                                                     \
        product_lines(channels, p, w, bias, out, add);                                             \
    }
PRODUCT(1)
PRODUCT(2)
PRODUCT(3)
PRODUCT(4)
PRODUCT(5)
PRODUCT(6)
#undef PRODUCT

void plane_product__avx2(const Plane *p, const float *w, const float *bias, float *out, bool add) {
    static PlaneProduct *const products[CHANNELS_MOST] = {product_1, product_2, product_3,
                                                          product_4, product_5, product_6};
    int left = (p->channels + CHANNELS_MOST - 1) / CHANNELS_MOST;
    for (int c = 0, some; left > 0; left--, c += some) {
        some = (p->channels - c + left - 1) / left;
        products[some - 1](p, w + c, bias + c, out + (size_t)c * p->step, add);
    }
}

/* --- gradient: some channels times some taps --- */

enum { ROWS_MOST = 3, TAPS_MOST = 3 };

static inline float lanes_sum(__m256 v) {
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

/* Adds a vector of positions; `mask`: of these lanes only. */
static inline __attribute__((always_inline)) void add_vector(int channels, int taps, const Plane *p,
                                                             const float *in, const int32_t *offset,
                                                             const float *g, const __m256 *mask,
                                                             __m256 sum[ROWS_MOST][TAPS_MOST]) {
    __m256 right[TAPS_MOST];
#pragma GCC unroll 3
    for (int t = 0; t < taps; t++) right[t] = _mm256_loadu_ps(in + offset[t]);
#pragma GCC unroll 3
    for (int c = 0; c < channels; c++) {
        __m256 left = _mm256_loadu_ps(g + (size_t)c * p->step);
        if (mask) left = _mm256_and_ps(left, *mask);
#pragma GCC unroll 3
        for (int t = 0; t < taps; t++) sum[c][t] = _mm256_fmadd_ps(left, right[t], sum[c][t]);
    }
}

static inline __attribute__((always_inline)) void gradient_of(int channels, int taps,
                                                              const Plane *p, const int32_t *offset,
                                                              const float *g, float *dw) {
    __m256 sum[ROWS_MOST][TAPS_MOST];
#pragma GCC unroll 3
    for (int c = 0; c < channels; c++)
#pragma GCC unroll 3
        for (int t = 0; t < taps; t++) sum[c][t] = _mm256_setzero_ps();
    int whole = p->wide / LANE * LANE, last = p->wide - LANE;
    __m256 fresh = fresh_lanes(whole, last);
    for (int y = 0; y < p->lines; y++, g += p->wide) {
        const float *in = p->in + p->from[y * p->wide];
        for (int x = 0; x < whole; x += LANE)
            add_vector(channels, taps, p, in + x, offset, g + x, NULL, sum);
        if (whole < p->wide)
            add_vector(channels, taps, p, in + last, offset, g + last, &fresh, sum);
    }
#pragma GCC unroll 3
    for (int c = 0; c < channels; c++)
#pragma GCC unroll 3
        for (int t = 0; t < taps; t++) dw[t * p->w_step + c] += lanes_sum(sum[c][t]);
}

typedef void GradientOf(const Plane *p, const int32_t *offset, const float *g, float *dw);

#define GRADIENT(channels, taps)                                                                   \
    static void gradient_##channels##_##taps(const Plane *p, const int32_t *offset,                \
                                             const float *g, float *dw) {                          \
        gradient_of(channels, taps, p, offset, g, dw);                                             \
    }
#define GRADIENTS(channels) GRADIENT(channels, 1) GRADIENT(channels, 2) GRADIENT(channels, 3)
GRADIENTS(1)
GRADIENTS(2)
GRADIENTS(3)
#undef GRADIENTS
#undef GRADIENT

void plane_gradient__avx2(const Plane *p, const float *g, float *dw) {
#define ROW(channels)                                                                              \
    { gradient_##channels##_1, gradient_##channels##_2, gradient_##channels##_3 }
    static GradientOf *const gradients[ROWS_MOST][TAPS_MOST] = {ROW(1), ROW(2), ROW(3)};
#undef ROW
    for (int c = 0, some; c < p->channels; c += some) {
        some = p->channels - c < ROWS_MOST ? p->channels - c : ROWS_MOST;
        for (int t = 0, taps; t < p->taps; t += taps) {
            taps = p->taps - t < TAPS_MOST ? p->taps - t : TAPS_MOST;
            gradients[some - 1][taps - 1](p, p->offset + t, g + (size_t)c * p->step,
                                          dw + t * p->w_step + c);
        }
    }
}
