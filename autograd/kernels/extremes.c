/* Extremes do not depend on the order of the values: each worker keeps its own. */
#include "autograd/kernels/extremes.h"

#include <math.h>

#include "autograd/kernels/elementwise.h"
#include "autograd/kernels/vector.h"

typedef struct Search {
    const float *x;
    size_t count;
    Extremes worker[MAX_THREADS];
} Search;

enum { LANES = 16 };

VECTOR static void search(const float *x, size_t count, Extremes *e) {
    float lo[LANES], hi[LANES],
        zero[LANES]; /* 0 * x is 0 for finite x, NaN otherwise, which stays */
    for (int k = 0; k < LANES; k++) {
        lo[k] = e->lo;
        hi[k] = e->hi;
        zero[k] = 0;
    }
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t k = 0; k < LANES; k++) {
            lo[k] = x[i + k] < lo[k] ? x[i + k] : lo[k];
            hi[k] = x[i + k] > hi[k] ? x[i + k] : hi[k];
            zero[k] += 0.0f * x[i + k];
        }
    for (size_t k = 0; i + k < count; k++) {
        lo[k] = x[i + k] < lo[k] ? x[i + k] : lo[k];
        hi[k] = x[i + k] > hi[k] ? x[i + k] : hi[k];
        zero[k] += 0.0f * x[i + k];
    }
    for (int k = 0; k < LANES; k++) {
        e->lo = fminf(e->lo, lo[k]);
        e->hi = fmaxf(e->hi, hi[k]);
        e->finite &= zero[k] == 0;
    }
}

static void search_piece(void *context, int index, int worker) {
    Search *s = context;
    size_t begin = (size_t)index * PIECE;
    search(s->x + begin, s->count - begin < PIECE ? s->count - begin : PIECE, &s->worker[worker]);
}

Extremes extremes_of(const float *x, size_t count) {
    Search s = {.x = x, .count = count};
    int threads = parallel_threads();
    for (int w = 0; w < threads; w++) s.worker[w] = (Extremes){INFINITY, -INFINITY, true};
    parallel_for((int)((count + PIECE - 1) / PIECE), search_piece, &s);
    Extremes all = s.worker[0];
    for (int w = 1; w < threads; w++) {
        all.lo = fminf(all.lo, s.worker[w].lo);
        all.hi = fmaxf(all.hi, s.worker[w].hi);
        all.finite &= s.worker[w].finite;
    }
    return all;
}
