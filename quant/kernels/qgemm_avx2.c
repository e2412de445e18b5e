/* The integer matrix product with AVX2, equal to the scalar one byte for byte.
 *
 * vpmaddwd multiplies 16-bit lanes and adds neighbours: x[k] w[k] + x[k+1] w[k+1] in one int32
 * lane, exact for bytes (at most 2 * 255 * 255). So everything runs in pairs of k:
 *   - the weights are widened to 16 bits once, less their zero point (which then costs nothing),
 * and packed in panels of 16 outputs, a pair of k of 8 outputs to a register; absent outputs and an
 * odd depth's last k are zeros;
 *   - the bytes of a block of rows are widened into scratch, and one row's pair goes to all lanes.
 * A tile of 6 rows x 16 outputs keeps its 12 sums in registers; with 2 for weights, 1 for the pair
 * and 1 for the product that makes all 16. */
#include "quant/kernels/lanes_avx2.h"
#include "quant/kernels/qgemm.h"

enum { PANEL = 2 * LANES, TILE = 6, BLOCK = 4 * TILE /* rows widened at once */ };

static size_t count_of_pairs(const QGemm *q) {
    return ((size_t)q->depth + 1) / 2;
}
static size_t count_of_lanes(const QGemm *q) {
    return ((size_t)q->outputs + LANES - 1) / LANES;
}

/* packed: Lanes[count_of_lanes], then for each panel int16 [pairs][PANEL][2]; when count_of_lanes
 * is odd the last panel is half as wide, [pairs][LANES][2]. */
static size_t avx2_packed_bytes(const QGemm *q) {
    return count_of_lanes(q) * (sizeof(Lanes) + count_of_pairs(q) * LANES * 2 * sizeof(int16_t));
}

static size_t avx2_scratch_bytes(const QGemm *q) {
    return BLOCK * count_of_pairs(q) * 2 * sizeof(int16_t);
}

static int16_t weight_or_zero(const QGemm *q, size_t output, size_t k) {
    size_t depth = (size_t)q->depth;
    if (output >= (size_t)q->outputs || k >= depth) return 0;
    int32_t zero = q->weight_zero ? q->weight_zero[output] : 0;
    return (int16_t)(q->weight[output * depth + k] - zero);
}

static void avx2_pack(const QGemm *q, void *packed) {
    size_t lanes = count_of_lanes(q), pairs = count_of_pairs(q);
    Lanes *constants = packed;
    for (size_t i = 0; i < lanes; i++)
        lanes_pack(&constants[i], q->outputs - (int)i * LANES, q->bias + i * LANES,
                   q->multiplier + i * LANES, q->zero);
    int16_t *w = (int16_t *)(constants + lanes);
    for (size_t first = 0; first < lanes; first += 2) {
        size_t width = first + 1 < lanes ? PANEL : LANES;
        for (size_t k = 0; k < pairs; k++)
            for (size_t i = 0; i < width; i++)
                for (size_t half = 0; half < 2; half++)
                    *w++ = weight_or_zero(q, first * LANES + i, 2 * k + half);
    }
}

/* x[rows][depth] -> wide[rows][pairs][2] */
static void widen(const QGemm *q, int rows, const uint8_t *x, size_t x_stride, int16_t *wide) {
    size_t depth = (size_t)q->depth, width = 2 * count_of_pairs(q);
    for (int r = 0; r < rows; r++, x += x_stride, wide += width) {
        for (size_t k = 0; k < depth; k++) wide[k] = x[k];
        if (depth < width) wide[depth] = 0;
    }
}

/* The two 16-bit numbers at p, in all lanes. */
static inline __m256i broadcast_pair(const int16_t *p) {
    int32_t pair;
    memcpy(&pair, p, sizeof pair);
    return _mm256_set1_epi32(pair);
}

/* sums[rows][PANEL] of one panel of one or two registers of outputs. `rows` and `two` are constants
 * at every call: with its loops unrolled, the arrays left and right are registers. */
static inline __attribute__((always_inline)) void tile_of(int rows, bool two, size_t pairs,
                                                          const int16_t *x, const int16_t *w,
                                                          const Lanes *lanes,
                                                          int32_t (*sums)[PANEL]) {
    __m256i left[TILE], right[TILE];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        left[r] = load(lanes[0].bias);
        if (two) right[r] = load(lanes[1].bias);
    }
    for (size_t k = 0; k < pairs; k++, w += two ? 2 * PANEL : 2 * LANES) {
        __m256i w_left = load(w), w_right = two ? load(w + 2 * LANES) : w_left;
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            __m256i pair = broadcast_pair(x + ((size_t)r * pairs + k) * 2);
            left[r] = _mm256_add_epi32(left[r], _mm256_madd_epi16(pair, w_left));
            if (two) right[r] = _mm256_add_epi32(right[r], _mm256_madd_epi16(pair, w_right));
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++) {
        _mm256_storeu_si256((__m256i *)&sums[r][0], left[r]);
        if (two) _mm256_storeu_si256((__m256i *)&sums[r][LANES], right[r]);
    }
}

static void tile(int rows, bool two, size_t pairs, const int16_t *x, const int16_t *w,
                 const Lanes *lanes, int32_t (*sums)[PANEL]) {
#define ROWS(n)                                                                                    \
    case n:                                                                                        \
        if (two)                                                                                   \
            tile_of(n, true, pairs, x, w, lanes, sums);                                            \
        else                                                                                       \
            tile_of(n, false, pairs, x, w, lanes, sums);                                           \
        break
    switch (rows) {
        ROWS(1);
        ROWS(2);
        ROWS(3);
        ROWS(4);
        ROWS(5);
        ROWS(6);
    }
#undef ROWS
}

/* Where a tile's results go: codes, or the sums as they are. */
typedef struct Output {
    uint8_t *y;
    size_t y_stride;
    int32_t *acc; /* NULL when codes are wanted */
    size_t acc_stride;
} Output;

/* Results of outputs first .. first+count-1 of `rows` rows from row r on. */
static void store(const QGemm *q, const Output *out, size_t r, int rows, size_t first, size_t count,
                  int32_t (*sums)[PANEL], const Lanes *lanes) {
    __m256i lo = _mm256_set1_epi32(q->lo), hi = _mm256_set1_epi32(q->hi);
    for (int i = 0; i < rows; i++) {
        if (out->acc) {
            memcpy(out->acc + (r + (size_t)i) * out->acc_stride + first, sums[i],
                   count * sizeof(int32_t));
            continue;
        }
        uint8_t *y = out->y + (r + (size_t)i) * out->y_stride + first;
        for (size_t v = 0; v * LANES < count; v++) {
            __m256i acc = load(&sums[i][v * LANES]);
            lanes_store(y + v * LANES, count - v * LANES, lanes_requantize(&lanes[v], acc, lo, hi));
        }
    }
}

/* One block of widened rows against all panels. */
static void block_of_rows(const QGemm *q, int rows, size_t r, const int16_t *wide,
                          const Output *out) {
    size_t outputs = (size_t)q->outputs, pairs = count_of_pairs(q);
    const Lanes *all_lanes = q->packed;
    const int16_t *weights = (const int16_t *)(all_lanes + count_of_lanes(q));
    int32_t sums[TILE][PANEL];
    for (size_t first = 0; first < outputs; first += PANEL) {
        size_t count = outputs - first < PANEL ? outputs - first : PANEL;
        const Lanes *lanes = all_lanes + first / LANES;
        const int16_t *w = weights + first * pairs * 2;
        for (int i = 0; i < rows; i += TILE) {
            int some = rows - i < TILE ? rows - i : TILE;
            tile(some, count > LANES, pairs, wide + (size_t)i * pairs * 2, w, lanes, sums);
            store(q, out, r + (size_t)i, some, first, count, sums, lanes);
        }
    }
}

static void every_row(const QGemm *q, int rows, const uint8_t *x, size_t x_stride,
                      const Output *out, int16_t *wide) {
    for (int r = 0; r < rows; r += BLOCK) {
        int some = rows - r < BLOCK ? rows - r : BLOCK;
        widen(q, some, x + (size_t)r * x_stride, x_stride, wide);
        block_of_rows(q, some, (size_t)r, wide, out);
    }
}

static void avx2_run(const QGemm *q, int rows, const uint8_t *x, size_t x_stride, uint8_t *y,
                     size_t y_stride, void *scratch) {
    every_row(q, rows, x, x_stride, &(Output){.y = y, .y_stride = y_stride}, scratch);
}

static void avx2_accumulate(const QGemm *q, int rows, const uint8_t *x, size_t x_stride,
                            int32_t *acc, size_t acc_stride, void *scratch) {
    every_row(q, rows, x, x_stride, &(Output){.acc = acc, .acc_stride = acc_stride}, scratch);
}

static bool avx2_usable(void) {
    return __builtin_cpu_supports("avx2");
}

const QGemmKernel qgemm_avx2 = {
    .name = "avx2",
    .usable = avx2_usable,
    .packed_bytes = avx2_packed_bytes,
    .pack = avx2_pack,
    .scratch_bytes = avx2_scratch_bytes,
    .run = avx2_run,
    .accumulate = avx2_accumulate,
};
