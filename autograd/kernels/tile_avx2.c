/* The tile products with AVX2 and FMA.
 *
 * A tile of some rows and one panel keeps its sums in registers: 6 rows of two registers, 4 of
 * three, 8 of one. A step loads the panel's registers, and each row's float into all lanes of one
 * more. Twelve independent sums keep both multipliers busy. Rows are shared out evenly among tiles:
 * 7 are 4 + 3, since a tile of a single row would wait for its own sums. */
#include "autograd/kernels/tile.h"

#include <immintrin.h>
#include <stddef.h>

#include "autograd/kernels/vector.h"

enum { ROWS_MOST = 8 };

INLINE float *result(const Tile *t, int row) {
    return t->out + (size_t)(t->to ? t->to[row] : row) * (size_t)t->out_step;
}

/* Tiles of `rows` rows, one after another; a copy of what is asked for, since for the compiler a
 * store might change the original. rows and registers are constants at every call: with the loops
 * unrolled, the arrays are registers. */
INLINE void tiles_of(int rows, int registers, const Tile *asked, int first, int end) {
    const Tile t = *asked;
    const float *in[ROWS_MOST];
    __m256 sum[ROWS_MOST][3], right[3];
    for (; first < end; first += rows) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            in[r] = t.in + t.row[first + r];
            __asm__("" : "+r"(in[r])); /* an address, not a distance to add to t.in at each step */
#pragma GCC unroll 3
            for (int v = 0; v < registers; v++)
                sum[r][v] = _mm256_loadu_ps((t.start ? t.start : result(&t, first + r)) + v * LANE);
        }
        const float *b = t.b;
        for (const int32_t *step = t.step, *last = step + t.steps; step < last; step++) {
            ptrdiff_t at = *step;
#pragma GCC unroll 3
            for (int v = 0; v < registers; v++) right[v] = _mm256_load_ps(b + v * LANE);
            b += t.b_step;
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                __m256 left = _mm256_broadcast_ss(in[r] + at);
#pragma GCC unroll 3
                for (int v = 0; v < registers; v++)
                    sum[r][v] = _mm256_fmadd_ps(left, right[v], sum[r][v]);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 3
            for (int v = 0; v < registers; v++)
                _mm256_store_ps(result(&t, first + r) + v * LANE, sum[r][v]);
    }
}

typedef void TileOf(const Tile *t, int first, int end);

#define TILE(rows, registers)                                                                      \
    static void tile_##rows##_##registers(const Tile *t, int first, int end) {                     \
        tiles_of(rows, registers, t, first, end);                                                  \
    }
TILE(1, 1)
TILE(2, 1)
TILE(3, 1)
TILE(4, 1)
TILE(5, 1)
TILE(6, 1)
TILE(7, 1)
TILE(8, 1)
TILE(1, 2)
TILE(2, 2)
TILE(3, 2)
TILE(4, 2)
TILE(5, 2)
TILE(6, 2)
TILE(1, 3)
TILE(2, 3)
TILE(3, 3)
TILE(4, 3)
#undef TILE

/* [registers - 1][rows - 1] */
static TileOf *const tiles[3][ROWS_MOST] = {
    {tile_1_1, tile_2_1, tile_3_1, tile_4_1, tile_5_1, tile_6_1, tile_7_1, tile_8_1},
    {tile_1_2, tile_2_2, tile_3_2, tile_4_2, tile_5_2, tile_6_2},
    {tile_1_3, tile_2_3, tile_3_3, tile_4_3},
};
static const int rows_most[3] = {8, 6, 4};

static void avx2_run(const Tile *t) {
    int kind = t->width / LANE - 1, count = (t->rows + rows_most[kind] - 1) / rows_most[kind];
    if (!count) return;
    int rows = t->rows / count, higher = t->rows % count * (rows + 1);
    if (higher) tiles[kind][rows](t, 0, higher);
    tiles[kind][rows - 1](t, higher, t->rows);
}

/* Eight rows of eight: neighbours, then pairs, then halves change places. */
static inline void transpose_8x8(const float *from, size_t from_stride, float *to,
                                 size_t to_stride) {
    __m256 a[8], b[8];
    for (size_t i = 0; i < 8; i++) a[i] = _mm256_loadu_ps(from + i * from_stride);
    for (int i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int k = 0; k < 2; k++) {
            a[i + 2 * k] = _mm256_shuffle_ps(b[i + k], b[i + k + 2], 0x44);
            a[i + 2 * k + 1] = _mm256_shuffle_ps(b[i + k], b[i + k + 2], 0xee);
        }
    for (int i = 0; i < 4; i++) {
        b[i] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x20);
        b[i + 4] = _mm256_permute2f128_ps(a[i], a[i + 4], 0x31);
    }
    for (size_t i = 0; i < 8; i++) _mm256_storeu_ps(to + i * to_stride, b[i]);
}

/* The shorter side within, so that lines of the cache are whole before they have to go. */
static void avx2_transpose(int rows, int columns, const float *from, int from_stride, float *to,
                           int to_stride) {
    size_t f = (size_t)from_stride, t = (size_t)to_stride;
    int whole_rows = rows / LANE * LANE, whole = columns / LANE * LANE;
    if (rows < columns)
        for (int c = 0; c < whole; c += LANE)
            for (int r = 0; r < whole_rows; r += LANE)
                transpose_8x8(from + (size_t)r * f + (size_t)c, f, to + (size_t)c * t + (size_t)r,
                              t);
    else
        for (int r = 0; r < whole_rows; r += LANE)
            for (int c = 0; c < whole; c += LANE)
                transpose_8x8(from + (size_t)r * f + (size_t)c, f, to + (size_t)c * t + (size_t)r,
                              t);
    tile_scalar.transpose(rows - whole_rows, whole, from + (size_t)whole_rows * f, from_stride,
                          to + whole_rows, to_stride);
    tile_scalar.transpose(rows, columns - whole, from + whole, from_stride, to + (size_t)whole * t,
                          to_stride);
}

static bool avx2_usable(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

const TileKernel tile_avx2 = {
    .name = "avx2",
    .usable = avx2_usable,
    .run = avx2_run,
    .transpose = avx2_transpose,
    .plane_product = plane_product__avx2,
    .plane_gradient = plane_gradient__avx2,
};
