/* The pool. The indices of a loop are cut into one range for each worker, the caller among them.
 * Two kinds of counters: how many indices of a range nobody has taken, and how many of all are not
 * finished. Whoever takes an index lowers the range's by compare-and-swap, runs the body and lowers
 * the other; the caller returns when that reaches zero. A worker begins with its own range, so that
 * loop after loop the same samples are in its processor's caches (from another's they come several
 * times as slowly), and helps with the others' when it is done: nobody waits for a thread that
 * sleeps or was late, it just finds nothing to take.
 *
 * The fields of the loop need no lock. They are written while all counters are zero and read only
 * by one who has taken an index, and until that index is finished the caller cannot begin another
 * loop.
 *
 * A training step runs some sixty loops, a few microseconds apart, and a wake-up takes twenty:
 * threads therefore spin for a moment before they sleep. Against a lost wake-up, the sleeper raises
 * its flag and then looks at the counters, the other side changes a counter and then looks at the
 * flag: one of them sees the other. */
#include "autograd/kernels/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "autograd/error.h"

/* Looks at a counter before sleeping: first 10 to 100 microseconds of them, then about a
 * millisecond in which whoever else wants the processor gets it. To be woken takes longer than most
 * waits. */
enum { SPINS = 2000, YIELDS = 2000 };

typedef struct Range {
    _Alignas(64) atomic_int untaken; /* a cache line of its own */
} Range;

static struct {
    atomic_int threads; /* the caller, worker 0, among them; 0: not started; workers look at it */
    pthread_t thread[MAX_THREADS];

    ParallelBody *body;
    void *context;
    int count;
    bool backwards;
    Range range[MAX_THREADS]; /* [threads] */
    atomic_int unfinished;

    pthread_mutex_t lock;
    pthread_cond_t work, done;
    atomic_int sleepers; /* workers in wait(work), or about to be */
    atomic_bool caller_sleeps, stopping;
} pool = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .work = PTHREAD_COND_INITIALIZER,
    .done = PTHREAD_COND_INITIALIZER,
};

static _Thread_local bool inside_body;

static void relax(int look) {
    if (look >= SPINS) {
        sched_yield();
        return;
    }
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Where the range of worker w begins; that of the one behind the last: its end. */
static int range_begin(int w) {
    return (int)((int64_t)pool.count * w / pool.threads);
}

static void take_range(int w, int worker) {
    int left = atomic_load(&pool.range[w].untaken);
    while (left > 0) {
        if (!atomic_compare_exchange_weak(&pool.range[w].untaken, &left, left - 1)) continue;
        int index = pool.backwards ? range_begin(w) + left - 1 : range_begin(w + 1) - left;
        pool.body(pool.context, index, worker);
        if (atomic_fetch_sub(&pool.unfinished, 1) == 1 && atomic_load(&pool.caller_sleeps)) {
            pthread_mutex_lock(&pool.lock);
            pthread_cond_signal(&pool.done);
            pthread_mutex_unlock(&pool.lock);
        }
        left = atomic_load(&pool.range[w].untaken);
    }
}

static void take_indices(int worker) {
    for (int i = 0; i < pool.threads; i++) take_range((worker + i) % pool.threads, worker);
}

static bool any_untaken(void) {
    for (int w = 0; w < pool.threads; w++)
        if (atomic_load(&pool.range[w].untaken) > 0) return true;
    return false;
}

/* Returns false when the pool stops. */
static bool wait_for_work(void) {
    for (int i = 0; i < SPINS + YIELDS; i++) {
        if (any_untaken()) return true;
        relax(i);
    }
    pthread_mutex_lock(&pool.lock);
    atomic_fetch_add(&pool.sleepers, 1);
    while (!any_untaken() && !atomic_load(&pool.stopping))
        pthread_cond_wait(&pool.work, &pool.lock);
    atomic_fetch_sub(&pool.sleepers, 1);
    pthread_mutex_unlock(&pool.lock);
    return !atomic_load(&pool.stopping);
}

static void *run_worker(void *number) {
    inside_body = true;
    while (wait_for_work()) take_indices((int)(intptr_t)number);
    return NULL;
}

static void wake_workers(int wanted) {
    int sleepers = atomic_load(&pool.sleepers);
    if (sleepers == 0) return;
    pthread_mutex_lock(&pool.lock);
    for (int i = 0; i < wanted && i < sleepers; i++) pthread_cond_signal(&pool.work);
    pthread_mutex_unlock(&pool.lock);
}

static void wait_until_finished(void) {
    for (int i = 0; i < SPINS + YIELDS; i++) {
        if (atomic_load(&pool.unfinished) == 0) return;
        relax(i);
    }
    pthread_mutex_lock(&pool.lock);
    atomic_store(&pool.caller_sleeps, true);
    while (atomic_load(&pool.unfinished) > 0) pthread_cond_wait(&pool.done, &pool.lock);
    atomic_store(&pool.caller_sleeps, false);
    pthread_mutex_unlock(&pool.lock);
}

static int available_processors(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
    return (int)sysconf(_SC_NPROCESSORS_ONLN); /* more processors than a cpu_set_t holds */
}

int parallel_start(int threads) {
    CHECK(pool.threads == 0, "the pool runs already, with %d threads", pool.threads);
    if (threads <= 0) threads = available_processors();
    if (threads < 1) threads = 1;
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    /* signals are the caller's: its handlers must not run on a worker */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pool.threads = 1;
    while (pool.threads < threads) {
        pthread_t *thread = &pool.thread[pool.threads];
        if (pthread_create(thread, NULL, run_worker, (void *)(intptr_t)pool.threads)) break;
        pool.threads++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pool.threads;
}

int parallel_threads(void) {
    return pool.threads ? pool.threads : parallel_start(0);
}

void parallel_stop(void) {
    pthread_mutex_lock(&pool.lock);
    atomic_store(&pool.stopping, true);
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.lock);
    for (int i = 1; i < pool.threads; i++) pthread_join(pool.thread[i], NULL);
    atomic_store(&pool.stopping, false);
    pool.threads = 0;
}

static void run(int count, ParallelBody *body, void *context, bool backwards) {
    CHECK(!inside_body, "a parallel loop inside another");
    int threads = parallel_threads();
    inside_body = true;
    if (threads == 1 || count <= 1) {
        for (int i = 0; i < count; i++) body(context, backwards ? count - 1 - i : i, 0);
    } else {
        pool.body = body;
        pool.context = context;
        pool.count = count;
        pool.backwards = backwards;
        atomic_store(&pool.unfinished, count);
        for (int w = 0; w < threads; w++)
            atomic_store(&pool.range[w].untaken, range_begin(w + 1) - range_begin(w));
        wake_workers(count - 1);
        take_indices(0);
        wait_until_finished();
    }
    inside_body = false;
}

void parallel_for(int count, ParallelBody *body, void *context) {
    run(count, body, context, false);
}

void parallel_along(int count, ParallelBody *body, void *context) {
    static bool backwards;
    backwards = !backwards;
    run(count, body, context, backwards);
}

typedef struct Planes {
    size_t channels;
    PlaneBody *body;
    void *context;
} Planes;

static void sample_planes(void *context, int n, int worker) {
    const Planes *planes = context;
    size_t first = (size_t)n * planes->channels, end = first + planes->channels;
    for (size_t p = first; p < end; p++) planes->body(planes->context, p, worker);
}

void parallel_planes(int samples, int channels, PlaneBody *body, void *context) {
    parallel_along(samples, sample_planes, &(Planes){(size_t)channels, body, context});
}
