/* What the tests of the integer kernels share: memory that shows every byte touched beside it, and
 * the rounding in 128 bits. */
#pragma once

#include "quant/fixedpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

enum { CANARY = 0xa5 };

/* Memory whose last byte is the last before a page without access. */
typedef struct Guarded {
    uint8_t *map, *data;
    size_t mapped;
} Guarded;

static inline Guarded guarded(size_t bytes, size_t alignment) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t inside = (bytes + page - 1) / page * page;
    Guarded g = {.mapped = inside + 2 * page};
    g.map = mmap(NULL, g.mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(g.map != MAP_FAILED);
    if (inside) assert_int_equal(mprotect(g.map + page, inside, PROT_READ | PROT_WRITE), 0);
    g.data = g.map + page + (inside - bytes) / alignment * alignment;
    memset(g.data, CANARY, bytes);
    return g;
}

static inline void release(Guarded g) {
    assert_int_equal(munmap(g.map, g.mapped), 0);
}

/* clamp(zero + floor(acc m0 / 2^shift + 1/2), lo, hi) */
static inline uint8_t exact_code(int32_t acc, Multiplier m, int32_t zero, int32_t lo, int32_t hi) {
    __int128 v = (__int128)acc * m.m0 + ((__int128)1 << (m.shift - 1));
    __int128 unit = (__int128)1 << m.shift;
    __int128 code = v / unit - (v % unit < 0) + zero;
    return (uint8_t)(code < lo ? lo : code > hi ? hi : code);
}
