/* VECTOR before a function: where the processor has AVX2, which is asked once at start, a second
 * version of its loops uses it. Both round alike, so results do not depend on it: sums keep their
 * order, and products are not contracted (the Makefile's -ffp-contract=off). */
#pragma once

#include <stdint.h>

/* Where a compiler finds no vectors in a loop: LANE floats at once, in one register or in two. The
 * arithmetic is that of the elements. LanesAt is how they lie anywhere in memory; a comparison of
 * Lanes is a Mask: all bits where it holds. */
enum { LANE = 8 };
typedef float Lanes __attribute__((vector_size(LANE * sizeof(float)), may_alias));
typedef Lanes LanesAt __attribute__((aligned(sizeof(float))));
typedef int32_t Mask __attribute__((vector_size(sizeof(Lanes))));

/* Part of each function that calls it, whose constants are its own. */
#define INLINE static inline __attribute__((always_inline))

/* For rows that follow one another in memory, where what is done between them hides that from the
 * processor: fetches what lies 4 KB ahead. */
INLINE void fetch_ahead(const float *x) {
    __builtin_prefetch(x + 1024);
}

/* (ThreadSanitizer is not there yet when versions are chosen.) */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define VECTOR __attribute__((target_clones("avx2", "default")))
#else
#define VECTOR
#endif
