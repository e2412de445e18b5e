#include "autograd/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "autograd/error.h"

enum { ALIGN = 64, FIRST_BLOCK = 1 << 16, HUGE_PAGE = 1 << 21 };

/* Blocks form a chain, newest first. `before` counts the bytes that older blocks hold. */
typedef struct Block {
    struct Block *older;
    size_t size, used, before;
} Block;

struct Arena {
    Block *block;
    size_t peak; /* most bytes in use since the last reset, rewound scratch included */
};

static void abort_exhausted(size_t bytes) {
    CHECK(false, "out of memory: %zu bytes asked", bytes);
}

void (*arena_exhausted)(size_t bytes) = abort_exhausted;

size_t size_mul(size_t a, size_t b) {
    size_t product;
    if (__builtin_mul_overflow(a, b, &product)) {
        arena_exhausted(SIZE_MAX);
        abort();
    }
    return product;
}

static char *block_data(Block *block) {
    return (char *)block + ALIGN;
}

/* Large blocks ask for large pages: a step walks through megabytes in strides, and looking up small
 * pages would take its share. */
static void *block_memory(size_t bytes) {
    if (bytes < HUGE_PAGE) return aligned_alloc(ALIGN, bytes);
    bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *memory = aligned_alloc(HUGE_PAGE, bytes);
    if (memory) madvise(memory, bytes, MADV_HUGEPAGE); /* a wish: nothing depends on it */
    return memory;
}

static Block *block_new(Block *older, size_t size) {
    _Static_assert(sizeof(Block) <= ALIGN, "a block's header fits its first line");
    Block *block = NULL;
    if (size <= SIZE_MAX - 2 * HUGE_PAGE) block = block_memory(size + ALIGN);
    if (!block) {
        arena_exhausted(size);
        abort();
    }
    size_t before = older ? older->before + older->used : 0;
    *block = (Block){.older = older, .size = size, .before = before};
    return block;
}

Arena *arena_new(void) {
    Arena *arena = malloc(sizeof *arena);
    if (!arena) {
        arena_exhausted(sizeof *arena);
        abort();
    }
    *arena = (Arena){0};
    return arena;
}

static void free_down_to(Arena *arena, const Block *last) {
    while (arena->block != last) {
        Block *older = arena->block->older;
        free(arena->block);
        arena->block = older;
    }
}

void arena_free(Arena *arena) {
    if (!arena) return;
    free_down_to(arena, NULL);
    free(arena);
}

void *arena_alloc(Arena *arena, size_t bytes) {
    if (bytes > SIZE_MAX - ALIGN) arena_exhausted(bytes);
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    Block *block = arena->block;
    if (!block || block->size - block->used < bytes) {
        size_t size =
            block ? 2 * block->size : FIRST_BLOCK; /* doubling: few blocks, little waste */
        enum { MOST = 1 << 26 };
        if (size > MOST) size = MOST;
        block = arena->block = block_new(block, bytes > size ? bytes : size);
    }
    void *memory = block_data(block) + block->used;
    block->used += bytes;
    return memory;
}

void *arena_zeros(Arena *arena, size_t bytes) {
    return memset(arena_alloc(arena, bytes), 0, bytes);
}

char *arena_text(Arena *arena, const char *format, ...) {
    CHECK(format, "no format");
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    CHECK(length >= 0, "format %s", format);
    char *text = arena_alloc(arena, (size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}

static void note_peak(Arena *arena) {
    size_t used = arena_used(arena);
    if (used > arena->peak) arena->peak = used;
}

void arena_reset(Arena *arena) {
    note_peak(arena);
    Block *block = arena->block;
    if (block &&
        (block->older || arena->peak > block->size)) { /* one block serves the next round */
        free_down_to(arena, NULL);
        arena->block = block_new(NULL, arena->peak);
    }
    if (arena->block) arena->block->used = 0;
    arena->peak = 0;
}

ArenaMark arena_mark(Arena *arena) {
    return (ArenaMark){arena->block, arena->block ? arena->block->used : 0};
}

void arena_rewind(Arena *arena, ArenaMark mark) {
    note_peak(arena);
    free_down_to(arena, mark.block);
    if (arena->block) arena->block->used = mark.used;
}

size_t arena_used(const Arena *arena) {
    return arena->block ? arena->block->before + arena->block->used : 0;
}
