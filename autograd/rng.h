/* Random numbers without hidden state: the i-th number of stream (seed, stream) is a pure function
 * of the three, so a permutation or a dropout mask depends neither on threads nor on what was drawn
 * before, and a resumed run needs no generator state. Mixing function: splitmix64 (Steele, Lea,
 * Flood 2014). */
#pragma once

#include <stdint.h>

typedef struct Rng {
    uint64_t key, count;
} Rng;

/* The stream that these numbers name: for example (seed, RNG_SHUFFLE, epoch). */
enum { RNG_INIT = 1, RNG_SHUFFLE, RNG_DROPOUT, RNG_AUGMENT, RNG_TEST, RNG_ADAROUND };
Rng rng_stream(uint64_t seed, uint64_t purpose, uint64_t index);

/* The number at `position` of a stream, whatever was drawn from it. */
uint64_t rng_at(const Rng *rng, uint64_t position);

uint64_t rng_next(Rng *rng);                  /* 64 random bits */
float rng_uniform(Rng *rng);                  /* [0, 1), 24 random bits */
float rng_normal(Rng *rng);                   /* mean 0, variance 1 (Box-Muller) */
uint32_t rng_below(Rng *rng, uint32_t limit); /* 0 .. limit-1, unbiased; limit > 0 */
void rng_permutation(Rng *rng, uint32_t *order, uint32_t count); /* Fisher-Yates of 0 .. count-1 */
