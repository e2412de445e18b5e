/* The matrix product and the tile products against their definitions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/tile.h"
#include "tests/reference.h"

/* ---- the matrix product ---- */

static float element(Mat a, int row, int column) {
    return a.transposed ? a.data[column * a.stride + row] : a.data[row * a.stride + column];
}

static void test_gemm(void **state) {
    (void)state;
    enum { MOST = 40, SPACE = (MOST + 3) * (MOST + 3) };
    static float a[SPACE], b[SPACE], c[SPACE], wanted[SPACE];
    Rng rng = rng_stream(1, RNG_TEST, 0);
    for (int trial = 0; trial < 500; trial++) {
        int m = random_between(&rng, 0, MOST), n = random_between(&rng, 0, MOST),
            k = random_between(&rng, 0, MOST);
        if (trial < 3) *(int *[]){&m, &n, &k}[trial] = 0;
        float beta = (float)random_between(&rng, -1, 2);
        Mat left = {a, 0, trial & 1}, right = {b, 0, trial & 2};
        left.stride = (left.transposed ? m : k) + random_between(&rng, 0, 3);
        right.stride = (right.transposed ? k : n) + random_between(&rng, 0, 3);
        int stride = n + random_between(&rng, 0, 3);
        fill_integers(&rng, a, SPACE);
        fill_integers(&rng, b, SPACE);
        fill_integers(&rng, c, SPACE);
        memcpy(wanted, c, sizeof c);
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) {
                float *sum = &wanted[i * stride + j];
                *sum *= beta;
                if (beta == 0) c[i * stride + j] = NAN; /* must not be read */
                for (int p = 0; p < k; p++) *sum += element(left, i, p) * element(right, p, j);
            }
        gemm(m, n, k, left, right, beta, c, stride);
        assert_same("gemm", c, wanted, SPACE); /* what lies between the rows stays as well */
    }
}

/* ---- the tile products ---- */

enum { TILE_ROWS = 21, TILE_STEPS = 13, TILE_INPUTS = 100 };

/* Each kernel against the formula, on whole numbers, whose sums are exact. */
static void test_tile_products(void **state) {
    (void)state;
    enum { PITCH_MOST = PANEL_MOST + 2 * LANE };
    static _Alignas(64) float b[TILE_STEPS * PITCH_MOST], out[(TILE_ROWS + 1) * PITCH_MOST];
    float in[TILE_INPUTS], start[PANEL_MOST], wanted[(TILE_ROWS + 1) * PITCH_MOST];
    int32_t row[TILE_ROWS], step[TILE_STEPS], to[TILE_ROWS + 1];
    Rng rng = rng_stream(2, RNG_TEST, 0);
    for (int trial = 0; trial < 3 * 2 * 2 * (TILE_ROWS + 1); trial++) {
        int width = (1 + trial % 3) * LANE, rows = trial / 12;
        int b_step = width + random_between(&rng, 0, 2) * LANE;
        int out_step = width + random_between(&rng, 0, 2) * LANE;
        Tile tile = {.rows = rows, .width = width, .in = in, .row = row};
        tile.b_step = b_step;
        tile.out_step = out_step;
        tile.steps = random_between(&rng, 0, TILE_STEPS);
        tile.step = step;
        tile.b = b;
        tile.out = out;
        if (trial % 2) tile.start = start;
        if (trial / 6 % 2) tile.to = to;
        for (int r = 0; r < rows; r++) to[r] = (r + trial) % (rows + 1); /* one row stays free */
        for (int r = 0; r < rows; r++) row[r] = random_between(&rng, 0, TILE_INPUTS / 2);
        for (int i = 0; i < tile.steps; i++) step[i] = random_between(&rng, 0, TILE_INPUTS / 2 - 1);
        for (const TileKernel *const *kernel = tile_kernels; *kernel; kernel++) {
            if (!(*kernel)->usable()) continue;
            fill_integers(&rng, in, TILE_INPUTS);
            fill_integers(&rng, b, TILE_STEPS * PITCH_MOST);
            fill_integers(&rng, start, PANEL_MOST);
            fill_integers(&rng, out, (TILE_ROWS + 1) * PITCH_MOST);
            memcpy(wanted, out, sizeof out);
            for (int r = 0; r < rows; r++)
                for (int j = 0; j < width; j++) {
                    float *sum = &wanted[(tile.to ? to[r] : r) * out_step + j];
                    if (tile.start) *sum = start[j];
                    for (int i = 0; i < tile.steps; i++)
                        *sum += in[row[r] + step[i]] * b[i * b_step + j];
                }
            (*kernel)->run(&tile);
            assert_same((*kernel)->name, out, wanted, (TILE_ROWS + 1) * PITCH_MOST);
        }
    }
}

/* ---- the products of planes ---- */

enum { PLANE_CHANNELS = 13, PLANE_TAPS = 7, PLANE_LINES = 5, PLANE_WIDE = 27, PLANE_IN = 200 };

/* One plane's place for channel c, position p. */
static size_t plane_at(const Plane *plane, int c, int p) {
    return (size_t)c * plane->step + (size_t)p;
}

/* What both kernels are to give, on whole numbers. */
static void plane_formula(const Plane *plane, const float *w, const float *bias, const float *g,
                          float *out, float *dw, bool add) {
    for (int c = 0; c < plane->channels; c++)
        for (int p = 0; p < plane->lines * plane->wide; p++) {
            const float *in =
                plane->in + plane->from[p / plane->wide * plane->wide] + p % plane->wide;
            float sum = bias[c], *at = &out[plane_at(plane, c, p)];
            for (int t = 0; t < plane->taps; t++) {
                sum += w[t * plane->w_step + c] * in[plane->offset[t]];
                dw[t * plane->w_step + c] += g[plane_at(plane, c, p)] * in[plane->offset[t]];
            }
            *at = add ? *at + sum : sum;
        }
}

static void test_plane_products(void **state) {
    (void)state;
    enum {
        PLANES = PLANE_CHANNELS * (PLANE_LINES * PLANE_WIDE + 3),
        WEIGHTS = PLANE_TAPS * (PLANE_CHANNELS + 2)
    };
    static float g[PLANES], out[PLANES], wanted[PLANES];
    float in[PLANE_IN + PLANE_WIDE], w[WEIGHTS], dw[WEIGHTS], wanted_dw[WEIGHTS];
    float bias[PLANE_CHANNELS];
    int32_t from[PLANE_LINES * PLANE_WIDE], offset[PLANE_TAPS];
    Rng rng = rng_stream(4, RNG_TEST, 0);
    for (int trial = 0; trial < 400; trial++) {
        Plane plane = {random_between(&rng, 1, PLANE_CHANNELS),
                       random_between(&rng, 1, PLANE_TAPS),
                       random_between(&rng, 1, PLANE_LINES),
                       random_between(&rng, LANE, PLANE_WIDE),
                       in,
                       from,
                       offset,
                       0,
                       0};
        plane.step = (size_t)(plane.lines * plane.wide + random_between(&rng, 0, 3));
        plane.w_step = plane.channels + random_between(&rng, 0, 2);
        for (int i = 0; i < PLANE_TAPS; i++) offset[i] = random_between(&rng, 0, PLANE_IN / 2);
        for (int i = 0; i < plane.lines * plane.wide; i++)
            from[i] = random_between(&rng, 0, PLANE_IN / 2 - 1);
        bool add = trial % 2;
        for (const TileKernel *const *kernel = tile_kernels; *kernel; kernel++) {
            if (!(*kernel)->usable()) continue;
            fill_integers(&rng, in, PLANE_IN + PLANE_WIDE);
            fill_integers(&rng, w, WEIGHTS);
            fill_integers(&rng, dw, WEIGHTS);
            fill_integers(&rng, bias, PLANE_CHANNELS);
            fill_integers(&rng, g, PLANES);
            fill_integers(&rng, out, PLANES);
            memcpy(wanted, out, sizeof out);
            memcpy(wanted_dw, dw, sizeof dw);
            plane_formula(&plane, w, bias, g, wanted, wanted_dw, add);
            (*kernel)->plane_product(&plane, w, bias, out, add);
            assert_same((*kernel)->name, out, wanted, PLANES);
            (*kernel)->plane_gradient(&plane, g, dw);
            assert_same((*kernel)->name, dw, wanted_dw, WEIGHTS);
        }
    }
}

static void test_tile_transpose(void **state) {
    (void)state;
    enum { MOST = 27, SPACE = MOST * (MOST + 3) };
    float from[SPACE], to[SPACE], wanted[SPACE];
    Rng rng = rng_stream(3, RNG_TEST, 0);
    for (int trial = 0; trial < 300; trial++) {
        int rows = random_between(&rng, 0, MOST), columns = random_between(&rng, 0, MOST);
        int from_stride = columns + random_between(&rng, 0, 3), to_stride = rows + trial % 4;
        for (const TileKernel *const *kernel = tile_kernels; *kernel; kernel++) {
            if (!(*kernel)->usable()) continue;
            fill_integers(&rng, from, SPACE);
            fill_integers(&rng, to, SPACE);
            memcpy(wanted, to, sizeof to);
            for (int r = 0; r < rows; r++)
                for (int c = 0; c < columns; c++)
                    wanted[c * to_stride + r] = from[r * from_stride + c];
            (*kernel)->transpose(rows, columns, from, from_stride, to, to_stride);
            assert_same((*kernel)->name, to, wanted, SPACE);
        }
    }
}

/* Panels cover the channels and are no wider than a kernel takes. */
static void test_panels(void **state) {
    (void)state;
    for (int channels = 1; channels < 200; channels++) {
        int c = 0, panels = 0;
        for (int width; c < channels; c += width, panels++) {
            width = panel_width(channels, c);
            assert_true(width % LANE == 0 && width > 0 && width <= PANEL_MOST);
            assert_int_equal(panel_begin(channels, panels), c);
        }
        assert_int_equal(c, panels_width(channels));
        assert_int_equal(panels, panel_count(channels));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),           cmocka_unit_test(test_tile_products),
        cmocka_unit_test(test_plane_products), cmocka_unit_test(test_tile_transpose),
        cmocka_unit_test(test_panels),
    };
    return cmocka_run_group_tests(tests, NULL, stop_pool);
}
