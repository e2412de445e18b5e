#include "autograd/kernels/maxpool.h"

#include <math.h>
#include <string.h>

#include "autograd/kernels/vector.h"

static inline bool wins(float value, float best) {
    return (value > best) | (value != value);
}

/* keep ? x : 0, of the bits: as a condition on floats it would become loads under a mask. */
static inline float kept(float x, bool keep) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits &= -(uint32_t)keep;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

/* --- any window: each kernel place competes for a row of outputs, and takes back from it --- */

/* The planes on both sides, on the way there or back. */
typedef struct Planes {
    const float *x, *dy;
    float *dx, *y;
    float sign;
    Winner *winner;
} Planes;

/* A row of `count` outputs from y[to] on, and the inputs from x[from] on that `place` sees. */
typedef void Row(const Planes *planes, Winner place, size_t from, size_t to, int count, int stride);

VECTOR static void compete(const Planes *planes, Winner place, size_t from, size_t to, int count,
                           int stride) {
    const float *restrict x = planes->x + from;
    float *restrict y = planes->y + to, sign = planes->sign;
    Winner *restrict winner = planes->winner + to;
    for (int i = 0; i < count; i++) {
        float value = sign * x[i * stride];
        bool win = wins(value, y[i]);
        y[i] = win ? value : y[i];
        winner[i] = win ? place : winner[i];
    }
}

VECTOR static void take_back(const Planes *planes, Winner place, size_t from, size_t to, int count,
                             int stride) {
    const float *restrict dy = planes->dy + to;
    const Winner *restrict winner = planes->winner + to;
    float *restrict dx = planes->dx + from;
    for (int i = 0; i < count; i++) dx[i * stride] += kept(dy[i], winner[i] == place);
}

static void each_row(const Patches *patches, Row *body, const Planes *planes) {
    for (int k = 0; k < patches_places(patches); k++) {
        Place at = patches_place(patches, k);
        for (int d = at.span[0].begin; d < at.span[0].end; d++) {
            Rows rows = place_rows(patches, &at, d);
            for (int h = 0; h < rows.count; h++)
                body(planes, (Winner)k, rows.input + (size_t)h * rows.input_step,
                     rows.output + (size_t)h * rows.output_step, rows.length,
                     patches->window->stride[2]);
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

/* `run` is a constant at every call. */
static inline __attribute__((always_inline)) void pool_runs(int run, const Patches *patches,
                                                            const float *restrict x, float sign,
                                                            float *restrict y,
                                                            Winner *restrict winner) {
    int width = patches->out[2], pitch = patches->in[2];
    for (int h = 0; h < patches->out[1]; h++)
        for (int i = 0; i < width; i += run) {
            int begin = i + run < width ? i : width - run, to = h * width + begin;
            const float *top = x + 2 * h * pitch + 2 * begin, *bottom = top + pitch;
            int32_t won[LONG];
#pragma GCC unroll 1 /* a loop of vectors, not straight code */
            for (int k = 0; k < run; k++) {
                float best = sign * top[2 * k], value = sign * top[2 * k + 1];
                bool win = wins(value, best);
                best = win ? value : best;
                int place = win ? 1 : 0;
                value = sign * bottom[2 * k];
                win = wins(value, best);
                best = win ? value : best;
                place = win ? 2 : place;
                value = sign * bottom[2 * k + 1];
                win = wins(value, best);
                y[to + k] = sign * (win ? value : best);
                won[k] = win ? 3 : place;
            }
            for (int k = 0; k < run; k++) winner[to + k] = (Winner)won[k];
        }
}

VECTOR static void pool_long(const Patches *p, const float *x, float sign, float *y, Winner *w) {
    pool_runs(LONG, p, x, sign, y, w);
}
VECTOR static void pool_short(const Patches *p, const float *x, float sign, float *y, Winner *w) {
    pool_runs(SHORT, p, x, sign, y, w);
}

/* Each of the four places under a window asks whether it won: nothing is scattered, and each
 * element is written once. */
static inline __attribute__((always_inline)) void spread_runs(int run, const Patches *patches,
                                                              const float *restrict dy,
                                                              const Winner *restrict winner,
                                                              float *restrict dx) {
    int width = patches->out[2], pitch = patches->in[2];
    for (int h = 0; h < patches->out[1]; h++)
        for (int i = 0; i < width; i += run) {
            int begin = i + run < width ? i : width - run, from = h * width + begin;
            float *top = dx + 2 * h * pitch + 2 * begin, *bottom = top + pitch;
            int32_t won[LONG];
            for (int k = 0; k < run; k++) won[k] = winner[from + k];
#pragma GCC unroll 1 /* a loop of vectors, not straight code */
            for (int k = 0; k < run; k++) {
                float g = dy[from + k];
                int place = won[k];
                top[2 * k] = kept(g, place == 0);
                top[2 * k + 1] = kept(g, place == 1);
                bottom[2 * k] = kept(g, place == 2);
                bottom[2 * k + 1] = kept(g, place == 3);
            }
        }
}

VECTOR static void spread_long(const Patches *p, const float *dy, const Winner *w, float *dx) {
    spread_runs(LONG, p, dy, w, dx);
}
VECTOR static void spread_short(const Patches *p, const float *dy, const Winner *w, float *dx) {
    spread_runs(SHORT, p, dy, w, dx);
}

/* --- */

void maxpool_plane(const Patches *patches, const float *x, float sign, float *y, Winner *winner) {
    if (is_usual(patches)) {
        (patches->out[2] < LONG ? pool_short : pool_long)(patches, x, sign, y, winner);
        return;
    }
    int count = patches_columns(patches);
    for (int j = 0; j < count; j++) {
        y[j] = -INFINITY;
        winner[j] = NO_PLACE;
    }
    each_row(patches, compete, &(Planes){.x = x, .sign = sign, .y = y, .winner = winner});
    for (int j = 0; j < count; j++) y[j] *= sign;
}

VECTOR void maxpool_cut(const float *restrict y, size_t count, Winner *restrict winner) {
    for (size_t i = 0; i < count; i++) winner[i] = y[i] <= 0 ? NO_PLACE : winner[i];
}

VECTOR void maxpool_keep(const uint8_t *restrict keep, size_t count, Winner *restrict winner) {
    for (size_t i = 0; i < count; i++) winner[i] = keep[i] ? winner[i] : NO_PLACE;
}

void maxpool_plane_gradient(const Patches *patches, const float *dy, const Winner *winner,
                            float *dx) {
    bool usual = is_usual(patches);
    bool covered = patches->in[2] == 2 * patches->out[2] && patches->in[1] == 2 * patches->out[1];
    if (!usual || !covered) memset(dx, 0, sizeof *dx * patches_plane(patches));
    if (usual)
        (patches->out[2] < LONG ? spread_short : spread_long)(patches, dy, winner, dx);
    else
        each_row(patches, take_back, &(Planes){.dx = dx, .dy = dy, .winner = (Winner *)winner});
}
