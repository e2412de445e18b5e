#include "autograd/rng.h"

#include <math.h>

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static const uint64_t GOLDEN = 0x9e3779b97f4a7c15u; /* 2^64 / golden ratio, splitmix64's step */

Rng rng_stream(uint64_t seed, uint64_t purpose, uint64_t index) {
    uint64_t key = mix(seed + GOLDEN);
    key = mix(key ^ (purpose + GOLDEN));
    key = mix(key ^ (index + GOLDEN));
    return (Rng){key, 0};
}

uint64_t rng_at(const Rng *rng, uint64_t position) {
    return mix(rng->key + (position + 1) * GOLDEN);
}

uint64_t rng_next(Rng *rng) {
    return rng_at(rng, rng->count++);
}

float rng_uniform(Rng *rng) {
    return (float)(rng_next(rng) >> 40) * 0x1p-24f;
}

float rng_normal(Rng *rng) {
    double u = 1.0 - (double)rng_uniform(rng); /* (0, 1]: its logarithm is finite */
    double v = (double)rng_uniform(rng);
    return (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
}

uint32_t rng_below(Rng *rng, uint32_t limit) {
    uint64_t fair = (uint64_t)UINT32_MAX + 1;
    fair -= fair % limit; /* draws past a whole number of rounds are thrown away */
    uint64_t draw;
    do draw = rng_next(rng) >> 32;
    while (draw >= fair);
    return (uint32_t)(draw % limit);
}

void rng_permutation(Rng *rng, uint32_t *order, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) order[i] = i;
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = rng_below(rng, i), swap = order[i - 1];
        order[i - 1] = order[j];
        order[j] = swap;
    }
}
