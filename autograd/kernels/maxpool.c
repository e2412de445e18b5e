#include "autograd/kernels/maxpool.h"

#include <math.h>
#include <string.h>

#include "autograd/kernels/vector.h"

/* --- any window: each kernel place competes for a row of outputs --- */

/* `from` is the place of x[0] in its plane. */
VECTOR static void compete(int count, int stride, const float *restrict x, int32_t from,
                           float *restrict y, int32_t *restrict winner) {
    for (int i = 0; i < count; i++) {
        float value = x[i * stride];
        bool wins = (value > y[i]) | (value != value);
        y[i] = wins ? value : y[i];
        winner[i] = wins ? from + i * stride : winner[i];
    }
}

static void pool_place(const Patches *patches, const Place *at, const float *x, float *y,
                       int32_t *winner) {
    int stride = patches->window->stride[2];
    for (int d = at->span[0].begin; d < at->span[0].end; d++) {
        Rows rows = place_rows(patches, at, d);
        for (int h = 0; h < rows.count; h++) {
            size_t from = rows.input + (size_t)h * rows.input_step;
            size_t to = rows.output + (size_t)h * rows.output_step;
            compete(rows.length, stride, x + from, (int32_t)from, y + to, winner + to);
        }
    }
}

/* --- the usual window: 2 x 2, stride 2, every place on the input --- */

enum { LONG = 8, SHORT = 4 }; /* results of a run; the last of a row overlaps the one before it */

static bool is_usual(const Patches *p) {
    const Window *w = p->window;
    for (int d = 1; d < SPATIAL; d++)
        if (w->kernel[d] != 2 || w->stride[d] != 2 || w->dilation[d] != 1) return false;
    return p->in[0] == 1 && w->kernel[0] == 1 && !window_padded(w) && p->out[2] >= SHORT;
}

static inline bool wins(float value, float best) {
    return (value > best) | (value != value);
}

/* `run` is a constant at every call. */
static inline __attribute__((always_inline)) void pool_runs(int run, int rows, int width, int pitch,
                                                            const float *restrict x,
                                                            float *restrict y,
                                                            int32_t *restrict winner) {
    for (int h = 0; h < rows; h++)
        for (int i = 0; i < width; i += run) {
            int begin = i + run < width ? i : width - run, to = h * width + begin;
            int first = 2 * h * pitch + 2 * begin;
            const float *top = x + first, *bottom = top + pitch;
#pragma GCC unroll 1 /* a loop of vectors, not straight code */
            for (int k = 0; k < run; k++) {
                float best = top[2 * k];
                int32_t at = first + 2 * k;
                bool win = wins(top[2 * k + 1], best);
                best = win ? top[2 * k + 1] : best;
                at = win ? first + 2 * k + 1 : at;
                win = wins(bottom[2 * k], best);
                best = win ? bottom[2 * k] : best;
                at = win ? first + 2 * k + pitch : at;
                win = wins(bottom[2 * k + 1], best);
                y[to + k] = win ? bottom[2 * k + 1] : best;
                winner[to + k] = win ? first + 2 * k + 1 + pitch : at;
            }
        }
}

VECTOR static void pool_long(int rows, int width, int pitch, const float *x, float *y,
                             int32_t *winner) {
    pool_runs(LONG, rows, width, pitch, x, y, winner);
}
VECTOR static void pool_short(int rows, int width, int pitch, const float *x, float *y,
                              int32_t *winner) {
    pool_runs(SHORT, rows, width, pitch, x, y, winner);
}

/* --- */

void maxpool_plane(const Patches *patches, const float *x, float *y, int32_t *winner) {
    if (is_usual(patches)) {
        int rows = patches->out[1], width = patches->out[2];
        (width < LONG ? pool_short : pool_long)(rows, width, patches->in[2], x, y, winner);
        return;
    }
    for (int j = 0; j < patches_columns(patches); j++) {
        y[j] = -INFINITY;
        winner[j] = -1;
    }
    for (int k = 0; k < patches_places(patches); k++) {
        Place at = patches_place(patches, k);
        pool_place(patches, &at, x, y, winner);
    }
}

/* keep ? x : 0, of the bits: as a condition on floats it would become loads under a mask. */
static inline float kept(float x, bool keep) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= -(uint32_t)keep;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

/* Each of the four places under a window asks whether it won: nothing is scattered, and each
 * element is written once. No winner, -1, is none of them. */
static inline __attribute__((always_inline)) void spread_runs(int run, int rows, int width,
                                                              int pitch, const float *restrict dy,
                                                              const int32_t *restrict winner,
                                                              float *restrict dx) {
    for (int h = 0; h < rows; h++)
        for (int i = 0; i < width; i += run) {
            int begin = i + run < width ? i : width - run, from = h * width + begin;
            int first = 2 * h * pitch + 2 * begin;
            float *top = dx + first, *bottom = top + pitch;
#pragma GCC unroll 1 /* a loop of vectors, not straight code */
            for (int k = 0; k < run; k++) {
                float g = dy[from + k];
                int32_t at = winner[from + k] - first - 2 * k;
                top[2 * k] = kept(g, at == 0);
                top[2 * k + 1] = kept(g, at == 1);
                bottom[2 * k] = kept(g, at == pitch);
                bottom[2 * k + 1] = kept(g, at == pitch + 1);
            }
        }
}

VECTOR static void spread_long(int rows, int width, int pitch, const float *dy,
                               const int32_t *winner, float *dx) {
    spread_runs(LONG, rows, width, pitch, dy, winner, dx);
}
VECTOR static void spread_short(int rows, int width, int pitch, const float *dy,
                                const int32_t *winner, float *dx) {
    spread_runs(SHORT, rows, width, pitch, dy, winner, dx);
}

void maxpool_plane_gradient(const Patches *patches, const float *dy, const int32_t *winner,
                            float *dx) {
    int rows = patches->out[1], width = patches->out[2], pitch = patches->in[2];
    bool usual = is_usual(patches), covered = pitch == 2 * width && patches->in[1] == 2 * rows;
    if (!usual || !covered) memset(dx, 0, sizeof *dx * patches_plane(patches));
    if (usual) {
        (width < LONG ? spread_short : spread_long)(rows, width, pitch, dy, winner, dx);
        return;
    }
    for (int j = 0; j < patches_columns(patches); j++)
        if (winner[j] >= 0) dx[winner[j]] += dy[j];
}
