/* One level of parallelism: a pool of threads that share out pieces of a loop. The pieces are cut
 * by the problem alone, never by the number of threads, and partial sums are added in the order of
 * the pieces: results do not depend on the number of threads, bit for bit. OpenBLAS is held to one
 * thread. */
#pragma once

#include <stddef.h>

enum { CHUNK = 8 /* samples in one piece */, MAX_THREADS = 256 };

/* Starts the pool; threads <= 0 means one per processor available to this process. Call it once,
 * before the first parallel_for, which otherwise starts the default. If a thread cannot be had, the
 * pool is smaller: the number that runs is returned. parallel_stop joins them (tests, and a clean
 * end of the program). */
int parallel_start(int threads);
int parallel_threads(void);
void parallel_stop(void);

/* Calls body(context, i, worker) for each i in 0 .. count-1, each once, in any order, on any
 * thread. 0 <= worker < parallel_threads() is for scratch memory. Returns when all are done. Not
 * from inside a body. */
typedef void ParallelBody(void *context, int index, int worker);
void parallel_for(int count, ParallelBody *body, void *context);

/* The same where the pieces follow one another in memory, as chunks of samples do: every other such
 * loop goes backwards, so that it begins with what the one before has left in the caches. */
void parallel_along(int count, ParallelBody *body, void *context);

/* The same for each plane n channels + c of a batch, its pieces being samples. */
typedef void PlaneBody(void *context, size_t plane, int worker);
void parallel_planes(int samples, int channels, PlaneBody *body, void *context);

/* The pieces that `samples` samples make, the one that a sample is in, and where piece i begins and
 * ends. */
static inline int chunk_count(int samples) {
    return (samples + CHUNK - 1) / CHUNK;
}
static inline int chunk_of(int sample) {
    return sample / CHUNK;
}
static inline int chunk_begin(int i) {
    return i * CHUNK;
}
static inline int chunk_end(int i, int samples) {
    return (i + 1) * CHUNK < samples ? (i + 1) * CHUNK : samples;
}
