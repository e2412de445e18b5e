/* Numbers that another program worked out: texts in tests/golden/, each beside the script that
 * makes it. A text has tables; the line before a table says how many there are of what follows,
 *
 *     quantize 712 cases: x scale zero qmin qmax -> code value
 *     block.dx 64 numbers: 2x2x4x4
 *
 * and # begins a comment. The test fails if the file or the table is not there, or if there is less
 * or more in it than it says. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "autograd/arena.h"

typedef struct Golden {
    FILE *file;
    const char *name, *table;
    int count, taken;
} Golden;

/* Both names stay the caller's. */
Golden golden_open(const char *file, const char *table);

/* Reads the next case, all of it, by scanf's format; false behind the last, when the file is
 * closed. */
bool golden_case(Golden *golden, const char *format, ...) __attribute__((format(scanf, 2, 3)));

/* A table of `count` numbers, owned by the arena. */
const float *golden_floats(Arena *arena, const char *file, const char *table, int count);
