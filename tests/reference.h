/* What the tests of kernels and ops share: integer-valued random data, random windows, and the
 * definition of a window as a plain formula. Sums of small integers are exact in floats, in any
 * order, so that results are compared for equality. */
#pragma once

#include "autograd/kernels/patches.h"
#include "autograd/rng.h"

int random_between(Rng *rng, int low, int high);      /* low .. high, both included */
void fill_integers(Rng *rng, float *x, size_t count); /* -4 .. 4 */

/* Fails the test at the first element that differs. */
void assert_same(const char *what, const float *got, const float *wanted, size_t count);

/* A window and an input that it fits, of rank 1 to 3. */
typedef struct Geometry {
    Window window;
    int rank, channels;
    Shape x; /* N C D H W, the last `rank` of D H W */
} Geometry;

Geometry random_geometry(Rng *rng);

/* Where output position `output` reads, through kernel place `place`, in the plane of a channel; -1
 * in the padding. The definition all else is compared with. */
int window_source(const Patches *p, int place, int output);

/* Stops the pool and starts it with that many threads; stop_pool ends a group of tests. */
void restart_pool(int threads);
int stop_pool(void **state);
