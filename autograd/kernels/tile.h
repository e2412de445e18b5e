/* The products of convolutions. Rows of a product are gathered where they lie: row r meets, at step
 * i, the float at in[row[r] + step[i]]. It multiplies b[i], a panel of `width` neighbours:
 *
 *     out[r][j] = start + sum over i of in[row[r] + step[i]] * b[i][j]
 *
 * Of a convolution's result rows are positions and steps the taps under a kernel (sweep.h); of its
 * weight's gradient rows are taps and steps positions. No patch is ever copied.
 *
 * Each sum runs over i in order. Kernels differ in the last bits, because some round after each
 * product and others only after the addition; the scalar one is the definition. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "autograd/kernels/plane.h"
#include "autograd/kernels/vector.h"

enum { PANEL_MOST = 3 * LANE };

typedef struct Tile {
    int rows, steps, width; /* width: LANE, 2 LANE or 3 LANE */
    int b_step, out_step;   /* from one row to the next; multiples of LANE */
    const float *in;
    const int32_t *row, *step; /* [rows] [steps] */
    const float *b;            /* [steps][b_step], aligned to 32 bytes */
    const float *start;        /* [width]; NULL: what out holds */
    float *out;                /* [rows][out_step], aligned to 32 bytes */
    const int32_t *to;         /* [rows] where row r of the product is in out; NULL: r */
} Tile;

typedef struct TileKernel {
    const char *name;
    bool (*usable)(void); /* on this processor */
    void (*run)(const Tile *tile);
    /* to[c][r] = from[r][c] */
    void (*transpose)(int rows, int columns, const float *from, int from_stride, float *to,
                      int to_stride);
    PlaneProduct *plane_product;
    PlaneGradient *plane_gradient;
} TileKernel;

/* In order of preference, NULL at the end; the last, tile_scalar, is the definition. */
extern const TileKernel *const tile_kernels[];
extern const TileKernel tile_avx2, tile_scalar;

/* The first of the list that this processor can run. */
const TileKernel *tile_kernel(void);

/* `channels` are cut into panels of two registers of AVX2; of an odd number of registers the first
 * panel takes three, or the only one. Floats in all panels together; width of the panel at channel
 * `begin`; how many there are, and where panel i begins. */
static inline int panels_width(int channels) {
    return (channels + LANE - 1) / LANE * LANE;
}
static inline int panel_width(int channels, int begin) {
    int left = panels_width(channels) - begin;
    if (left / LANE % 2 == 0) return 2 * LANE;
    return left < PANEL_MOST ? left : PANEL_MOST;
}
static inline int panel_count(int channels) {
    int registers = panels_width(channels) / LANE;
    return registers < 2 ? registers : registers / 2;
}
static inline int panel_begin(int channels, int i) {
    return i == 0 ? 0 : panel_width(channels, 0) + (i - 1) * 2 * LANE;
}
