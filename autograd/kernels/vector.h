/* VECTOR before a function: where the processor has AVX2, which is asked once at start, a second
 * version of its loops uses it. Both round alike, so results do not depend on it: sums keep their
 * order, and products are not contracted (the Makefile's -ffp-contract=off). */
#pragma once

#ifdef __x86_64__
#define VECTOR __attribute__((target_clones("avx2", "default")))
#else
#define VECTOR
#endif
