/* The only allocator: memory with one lifetime is taken from one arena and given back at once.
 * Three owners exist in stair: the Graph (a model's life), the Tape (one step), the Program. */
#pragma once

#include <stddef.h>

typedef struct Arena Arena;

/* An empty arena. The caller owns it: arena_free. */
Arena *arena_new(void);
void arena_free(Arena *arena); /* NULL is fine */

/* `bytes` of memory, aligned to 64; owned by the arena. 0 bytes give a valid pointer.
 * arena_alloc leaves it as it is, arena_zeros clears it. Memory that cannot be had ends in
 * arena_exhausted: a size that comes from outside must have been checked before. */
void *arena_alloc(Arena *arena, size_t bytes);
void *arena_zeros(Arena *arena, size_t bytes);
char *arena_text(Arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Forgets everything; the memory is kept, as one block, for the next round: after the first step a
 * step that takes the same memory asks the system for none. */
void arena_reset(Arena *arena);

/* Scratch within a function: what was taken since the mark is forgotten. */
typedef struct ArenaMark {
    void *block;
    size_t used;
} ArenaMark;
ArenaMark arena_mark(Arena *arena);
void arena_rewind(Arena *arena, ArenaMark mark);

/* Bytes taken since the last reset. */
size_t arena_used(const Arena *arena);

/* a * b, the way every size is computed; ends in arena_exhausted on overflow. */
size_t size_mul(size_t a, size_t b);

/* Called with the size asked for when there is no memory; must not return. Aborts until a program
 * puts its own in place. */
extern void (*arena_exhausted)(size_t bytes);
