/* Data, windows and definitions that several tests compare with. */
#include "tests/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "autograd/kernels/parallel.h"

void restart_pool(int threads) {
    parallel_stop();
    assert_int_equal(parallel_start(threads), threads);
}

int stop_pool(void **state) {
    (void)state;
    parallel_stop();
    return 0;
}

int random_between(Rng *rng, int low, int high) {
    return low + (int)rng_below(rng, (uint32_t)(high - low + 1));
}

void fill_integers(Rng *rng, float *x, size_t count) {
    for (size_t i = 0; i < count; i++) x[i] = (float)random_between(rng, -4, 4);
}

void assert_same(const char *what, const float *got, const float *wanted, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (got[i] != wanted[i])
            fail_msg("%s: element %zu of %zu is %g, not %g", what, i, count, (double)got[i],
                     (double)wanted[i]);
}

Geometry random_geometry(Rng *rng) {
    Geometry g = {.window = window_identity(), .rank = random_between(rng, 1, SPATIAL)};
    g.channels = random_between(rng, 1, 3);
    g.x = (Shape){.rank = g.rank + 2, .dim = {random_between(rng, 1, CHUNK + 2), g.channels}};
    for (int i = 0; i < g.rank; i++) {
        int d = SPATIAL - g.rank + i;
        g.window.kernel[d] = random_between(rng, 1, 3);
        g.window.stride[d] = random_between(rng, 1, 3);
        g.window.padding[d] = random_between(rng, 0, 2);
        g.window.uneven[d] =
            random_between(rng, 0, 3) ? 0 : random_between(rng, 0, 2) - g.window.padding[d];
        g.window.dilation[d] = random_between(rng, 1, 3);
        do g.x.dim[2 + i] = random_between(rng, 1, 9);
        while (window_out(&g.window, d, g.x.dim[2 + i]) < 1);
    }
    return g;
}

int window_source(const Patches *p, int place, int output) {
    int index = 0, o[SPATIAL], k[SPATIAL];
    for (int d = SPATIAL - 1; d >= 0; d--) {
        o[d] = output % p->out[d], output /= p->out[d];
        k[d] = place % p->window->kernel[d], place /= p->window->kernel[d];
    }
    for (int d = 0; d < SPATIAL; d++) {
        const Window *w = p->window;
        int i = o[d] * w->stride[d] + k[d] * w->dilation[d] - w->padding[d];
        if (i < 0 || i >= p->in[d]) return -1;
        index = index * p->in[d] + i;
    }
    return index;
}
