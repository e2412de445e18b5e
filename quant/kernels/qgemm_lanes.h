/* The frame of the matrix kernels that work on lanes: packing, the walk over blocks, the way from
 * sums to codes. A file that includes it has defined
 *
 *     Element, Weight        types of x and of packed weights
 *     STEP                   numbers of a row that one 32-bit lane takes at once
 *     VECTORS, TILE(v)       registers of 8 outputs in a panel, and rows of its tile
 *     tile_of                the product itself, below
 *
 * Weights are packed in panels of VECTORS * 8 outputs (the last may be narrower), step by step:
 * [runs][steps][vector][8 outputs][STEP], so that one load fits one broadcast of STEP numbers of a
 * row. Absent outputs and what is missing of a run's last step are zeros. Weights are packed less
 * their zero point, which then costs nothing. */
#pragma once

#include "quant/kernels/lanes_avx2.h"
#include "quant/kernels/qgemm.h"

enum { BLOCK = 48 /* rows whose sums are kept */, WIDTH = VECTORS * LANES };

static inline size_t count_of_lanes(const QGemm *q) {
    return ((size_t)q->outputs + LANES - 1) / LANES;
}
static inline size_t count_of_steps(const QGemm *q) {
    return ((size_t)q->run + STEP - 1) / STEP;
}
/* Packed weights of 8 outputs. */
static inline size_t lane_weights(const QGemm *q) {
    return (size_t)q->runs * count_of_steps(q) * STEP * LANES;
}

static inline int32_t weight_at(const QGemm *q, size_t output, size_t j, size_t k) {
    size_t run = (size_t)q->run;
    if (output >= (size_t)q->outputs || k >= run) return 0;
    int32_t zero = q->weight_zero ? q->weight_zero[output] : 0;
    return q->weight[(output * (size_t)q->runs + j) * run + k] - zero;
}

/* packed: Lanes[count_of_lanes], then the weights */
static size_t lanes_packed_bytes(const QGemm *q) {
    return count_of_lanes(q) * (sizeof(Lanes) + lane_weights(q) * sizeof(Weight));
}

static Weight *pack_panel(const QGemm *q, size_t first, size_t vectors, Weight *w) {
    for (size_t j = 0; j < (size_t)q->runs; j++)
        for (size_t k = 0; k < (size_t)q->run; k += STEP)
            for (size_t o = first * LANES; o < (first + vectors) * LANES; o++)
                for (size_t i = 0; i < STEP; i++) *w++ = (Weight)weight_at(q, o, j, k + i);
    return w;
}

static void lanes_pack_all(const QGemm *q, void *packed) {
    size_t lanes = count_of_lanes(q);
    Lanes *constants = packed;
    for (size_t i = 0; i < lanes; i++)
        lanes_pack(&constants[i], q->outputs - (int)i * LANES, q->bias + i * LANES,
                   q->multiplier + i * LANES, q->zero);
    Weight *w = (Weight *)(constants + lanes);
    for (size_t first = 0; first < lanes; first += VECTORS)
        w = pack_panel(q, first, lanes - first < VECTORS ? lanes - first : VECTORS, w);
}

/* The product of some rows with one panel: what every tile sees. */
typedef struct Panel {
    const QGemm *q;
    const size_t *run; /* QRows.run */
    const Lanes *lanes;
    const Weight *w;
} Panel;

/* sums[rows][vectors][LANES]; x[rows]: where each row begins. `rows` and `vectors` are constants
 * at every call: with its loops unrolled, arrays of sums are registers. */
static inline __attribute__((always_inline)) void tile_of(int rows, int vectors, const Panel *panel,
                                                          const Element *const *x, int32_t *sums);

/* The STEP elements at p, in all lanes. */
static inline __m256i broadcast(const Element *p) {
    int32_t step;
    _Static_assert(sizeof step == STEP * sizeof *p, "a lane has 32 bits");
    memcpy(&step, p, sizeof step);
    return _mm256_set1_epi32(step);
}

static inline __attribute__((always_inline)) void rows_of(int rows, int vectors, const Panel *panel,
                                                          const Element *const *x, int32_t *sums) {
    int r = 0;
    for (; r + TILE(vectors) <= rows; r += TILE(vectors))
        tile_of(TILE(vectors), vectors, panel, x + r, sums + r * vectors * LANES);
    for (; r + 2 <= rows; r += 2) tile_of(2, vectors, panel, x + r, sums + r * vectors * LANES);
    if (r < rows) tile_of(1, vectors, panel, x + r, sums + r * vectors * LANES);
}

static void rows_of_panel(int rows, int vectors, const Panel *panel, const Element *const *x,
                          int32_t *sums) {
    switch (vectors) {
    case 1: rows_of(rows, 1, panel, x, sums); break;
    case 2: rows_of(rows, 2, panel, x, sums); break;
#if VECTORS > 2
    case 3: rows_of(rows, 3, panel, x, sums); break;
    case 4: rows_of(rows, 4, panel, x, sums); break;
    case 5: rows_of(rows, 5, panel, x, sums); break;
#endif
    }
}

/* Where results go: codes, or the sums as they are. */
typedef struct Output {
    uint8_t *y;
    size_t y_stride;
    int32_t *acc; /* NULL when codes are wanted */
    size_t acc_stride;
    int pool;
} Output;

/* sums[rows][vectors][LANES] of outputs `first` and on, of the block's rows from row r on. */
static void store(const QGemm *q, const Output *out, int r, int rows, size_t first, int vectors,
                  const int32_t *sums, const Lanes *lanes) {
    size_t width = (size_t)vectors * LANES, left = (size_t)q->outputs - first;
    if (out->acc) {
        for (int i = 0; i < rows; i++)
            memcpy(out->acc + (size_t)(r + i) * out->acc_stride + first, sums + (size_t)i * width,
                   (left < width ? left : width) * sizeof *sums);
        return;
    }
    __m256i lo = _mm256_set1_epi32(q->lo), hi = _mm256_set1_epi32(q->hi);
    for (int v = 0; v < vectors; v++) {
        const int32_t *from = sums + v * LANES;
        uint8_t *y = out->y + (size_t)(r / out->pool) * out->y_stride + first + (size_t)v * LANES;
        for (int i = 0; i < rows; i += out->pool, y += out->y_stride) {
            __m256i most = load(from);
            from += width;
            for (int p = 1; p < out->pool; p++, from += width)
                most = _mm256_max_epi32(most, load(from));
            lanes_store(y, left - (size_t)v * LANES, lanes_requantize(&lanes[v], most, lo, hi));
        }
    }
}

static void every_row(const QGemm *q, const QRows *x, int rows, const Output *out) {
    size_t lanes = count_of_lanes(q);
    const Lanes *constants = q->packed;
    const Weight *weights = (const Weight *)(constants + lanes);
    int block = BLOCK / out->pool * out->pool;
    const Element *row[BLOCK];
    int32_t sums[BLOCK * WIDTH];
    for (int r = 0; r < rows; r += block) {
        int some = rows - r < block ? rows - r : block;
        for (int i = 0; i < some; i++) row[i] = (const Element *)x->x + x->row[r + i];
        for (size_t first = 0; first < lanes; first += VECTORS) {
            int vectors = lanes - first < VECTORS ? (int)(lanes - first) : VECTORS;
            Panel panel = {q, x->run, constants + first, weights + first * lane_weights(q)};
            rows_of_panel(some, vectors, &panel, row, sums);
            store(q, out, r, some, first * LANES, vectors, sums, panel.lanes);
        }
    }
}

static void lanes_run(const QGemm *q, const QRows *x, int rows, int pool, uint8_t *y,
                      size_t y_stride) {
    every_row(q, x, rows, &(Output){.y = y, .y_stride = y_stride, .pool = pool});
}

static void lanes_accumulate(const QGemm *q, const QRows *x, int rows, int32_t *acc,
                             size_t acc_stride) {
    every_row(q, x, rows, &(Output){.acc = acc, .acc_stride = acc_stride, .pool = 1});
}
