/* The parallel loop, and sums that it takes by pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "autograd/kernels/partials.h"
#include "tests/reference.h"

/* ---- loops ---- */

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
            for (int way = 0; way < 2; way++) parallel_along(counts[c], count_call, &calls);
            for (int i = 0; i < 1000; i++) assert_int_equal(calls.times[i], 3 * (i < counts[c]));
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

/* ---- sums of pieces ---- */

typedef struct Adding {
    Partials partials;
    atomic_bool disordered;
} Adding;

/* The number of chunks, their sum, and the last one so far. */
static void add_chunk(void *context, int chunk, int worker) {
    (void)worker;
    Adding *adding = context;
    float *sums = partials_chunk(&adding->partials, chunk);
    if (sums[0] > 0 && (int)sums[2] != chunk - 1) adding->disordered = true;
    sums[0]++;
    sums[1] += (float)chunk;
    sums[2] = (float)chunk;
}

static void test_partials(void **state) {
    (void)state;
    Arena *arena = arena_new();
    for (int samples = 1; samples < 200 * CHUNK; samples += samples < 300 ? 1 : 97) {
        arena_reset(arena);
        Adding adding = {.partials = partials_new(arena, 3, samples)};
        int chunks = chunk_count(samples);
        assert_in_range(adding.partials.pieces, chunks < 32 ? chunks : 17, 32);
        for (int again = 0; again < 2; again++) { /* cleared each time */
            partials_along(&adding.partials, add_chunk, &adding);
            const float *sums = partials_sum(&adding.partials);
            assert_true(sums[0] == (float)chunks);
            assert_true(sums[1] == (float)(chunks * (chunks - 1) / 2));
            assert_false(adding.disordered);
        }
    }
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_index_once),  cmocka_unit_test(test_all_threads_take_part),
        cmocka_unit_test(test_many_short_loops), cmocka_unit_test(test_default_start_and_chunks),
        cmocka_unit_test(test_partials),
    };
    return cmocka_run_group_tests(tests, NULL, stop_pool);
}
