/* "Did you mean": of a list of names, the one that a slip of the fingers turns into the word that
 * was typed. */
#pragma once

#include <stddef.h>

typedef struct Nearest {
    const char *word; /* [length] what was typed */
    size_t length;
    size_t distance;  /* of the best so far; worse ones do not count */
    const char *best; /* NULL: nothing is near enough */
} Nearest;

/* A search for names like word[length]: near enough is one edit, and one more for every three
 * letters. */
Nearest nearest_to(const char *word, size_t length);

/* Takes `name` if it is nearer than those before. The name must outlive the search. */
void nearest_try(Nearest *nearest, const char *name);
