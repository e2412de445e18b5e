/* The definition of the tile products. */
#include "autograd/kernels/tile.h"

#include <stddef.h>

static void scalar_run(const Tile *t) {
    for (int r = 0; r < t->rows; r++) {
        const float *in = t->in + t->row[r], *b = t->b;
        size_t to = (size_t)(t->to ? t->to[r] : r);
        float *out = t->out + to * (size_t)t->out_step, sum[PANEL_MOST];
        for (int j = 0; j < t->width; j++) sum[j] = t->start ? t->start[j] : out[j];
        for (int i = 0; i < t->steps; i++, b += t->b_step)
            for (int j = 0; j < t->width; j++) sum[j] += in[t->step[i]] * b[j];
        for (int j = 0; j < t->width; j++) out[j] = sum[j];
    }
}

static void scalar_transpose(int rows, int columns, const float *from, int from_stride, float *to,
                             int to_stride) {
    for (int c = 0; c < columns; c++)
        for (int r = 0; r < rows; r++)
            to[(size_t)c * (size_t)to_stride + (size_t)r] =
                from[(size_t)r * (size_t)from_stride + (size_t)c];
}

static bool scalar_usable(void) {
    return true;
}

const TileKernel tile_scalar = {
    .name = "scalar",
    .usable = scalar_usable,
    .run = scalar_run,
    .transpose = scalar_transpose,
    .plane_product = plane_product__scalar,
    .plane_gradient = plane_gradient__scalar,
};
