/* The parallel loop, the matrix product and the patch copy against their definitions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "autograd/kernels/gemm.h"
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/patches.h"
#include "tests/reference.h"

/* ---- the parallel loop ---- */

typedef struct Calls {
    atomic_int times[1000];
    atomic_int strangers; /* worker numbers out of range */
} Calls;

static void count_call(void *context, int i, int worker) {
    Calls *calls = context;
    atomic_fetch_add(&calls->times[i], 1);
    if (worker < 0 || worker >= parallel_threads()) atomic_fetch_add(&calls->strangers, 1);
}

static void test_each_index_once(void **state) {
    (void)state;
    static const int threads[] = {1, 2, 3, 8}, counts[] = {0, 1, 2, 7, 1000};
    static Calls calls;
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        restart_pool(threads[t]);
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            memset(&calls, 0, sizeof calls);
            parallel_for(counts[c], count_call, &calls);
            for (int i = 0; i < 1000; i++) assert_int_equal(calls.times[i], i < counts[c]);
            assert_int_equal(calls.strangers, 0);
        }
    }
}

typedef struct Meeting {
    int expected;
    atomic_int arrived, times[8]; /* by worker */
} Meeting;

static void meet(void *context, int i, int worker) {
    (void)i;
    Meeting *meeting = context;
    atomic_fetch_add(&meeting->times[worker], 1);
    atomic_fetch_add(&meeting->arrived, 1);
    while (atomic_load(&meeting->arrived) < meeting->expected) sched_yield();
}

/* As many indices as threads, each waiting for all others: every thread has to take one. */
static void test_all_threads_take_part(void **state) {
    (void)state;
    alarm(60); /* a pool that lost a thread would wait for ever */
    for (int threads = 1; threads <= 8; threads++) {
        restart_pool(threads);
        for (int round = 0; round < 50; round++) {
            Meeting meeting = {.expected = threads};
            parallel_for(threads, meet, &meeting);
            for (int i = 0; i < 8; i++) assert_int_equal(meeting.times[i], i < threads);
        }
    }
    alarm(0);
}

typedef struct Squares {
    int offset, value[5]; /* plain memory: the end of the loop must make it visible */
} Squares;

static void store_square(void *context, int i, int worker) {
    (void)worker;
    Squares *squares = context;
    squares->value[i] = squares->offset + i * i;
}

/* Thousands of short loops, each on other memory: a thread late for one of them must not disturb
 * the next, and no wake-up may get lost. */
static void test_many_short_loops(void **state) {
    (void)state;
    for (int threads = 2; threads <= 8; threads *= 2) {
        restart_pool(threads);
        for (int round = 0; round < 5000; round++) {
            Squares squares = {.offset = round};
            int count = 1 + round % 5;
            parallel_for(count, store_square, &squares);
            for (int i = 0; i < 5; i++)
                assert_int_equal(squares.value[i], i < count ? round + i * i : 0);
        }
    }
}

static void test_default_start_and_chunks(void **state) {
    (void)state;
    parallel_stop();
    int threads = parallel_threads(); /* starts it */
    assert_true(threads >= 1 && threads <= MAX_THREADS);
    parallel_stop();
    parallel_stop(); /* of a pool that does not run: nothing */
    assert_int_equal(parallel_start(0), threads);

    for (int samples = 0; samples < 5 * CHUNK; samples++) {
        int next = 0;
        for (int i = 0; i < chunk_count(samples); i++) {
            assert_int_equal(chunk_begin(i), next);
            next = chunk_end(i, samples);
            assert_true(next > chunk_begin(i) && next - chunk_begin(i) <= CHUNK);
        }
        assert_int_equal(next, samples);
    }
}

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

/* ---- patches ---- */

static void test_patches(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Rng rng = rng_stream(2, RNG_TEST, 0);
    for (int trial = 0; trial < 400; trial++) {
        arena_reset(arena);
        Geometry g = random_geometry(&rng);
        Patches p = patches_of(&g.window, g.channels, &g.x);
        int places = patches_places(&p), outs = patches_columns(&p);
        size_t count = (size_t)patches_rows(&p) * (size_t)outs;
        size_t plane = patches_plane(&p), x_count = plane * (size_t)g.channels;
        assert_int_equal(patches_rows(&p), g.channels * places);
        float *x = arena_alloc(arena, sizeof *x * x_count);
        float *columns = arena_alloc(arena, sizeof *x * count);
        float *wanted = arena_alloc(arena, sizeof *x * count);
        fill_integers(&rng, x, x_count);
        fill_integers(&rng, columns, count); /* old contents that gather must replace */
        for (int row = 0; row < g.channels * places; row++)
            for (int o = 0; o < outs; o++) {
                int from = window_source(&p, row % places, o);
                wanted[row * outs + o] = from < 0 ? 0 : x[row / places * (int)plane + from];
            }
        patches_gather(&p, x, columns);
        assert_same("gather", columns, wanted, count);
        if (patches_identity(&p)) assert_same("identity", columns, x, count);

        /* scatter is gather's transpose: <gather(x), c> = <x, scatter(c)> for all x and c, and it
         * adds */
        float *c = wanted, *sums = arena_alloc(arena, sizeof *x * x_count);
        fill_integers(&rng, c, count);
        for (size_t i = 0; i < x_count; i++) sums[i] = 1;
        patches_scatter(&p, c, sums);
        double left = 0, right = 0;
        for (size_t i = 0; i < count; i++) left += (double)columns[i] * (double)c[i];
        for (size_t i = 0; i < x_count; i++) right += (double)x[i] * (double)(sums[i] - 1);
        assert_true(left == right);
    }
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_index_once),
        cmocka_unit_test(test_all_threads_take_part),
        cmocka_unit_test(test_many_short_loops),
        cmocka_unit_test(test_default_start_and_chunks),
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_patches),
    };
    return cmocka_run_group_tests(tests, NULL, stop_pool);
}
