/* Text for people: appending within bounds, and "did you mean". */
#pragma once

#include <stddef.h>

/* Appends to the text in text[size]; what does not fit is cut. */
void text_append(char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

typedef struct Nearest {
    const char *word; /* [length] what was typed */
    size_t length;
    size_t distance;  /* of the best so far; worse ones do not count */
    const char *best; /* NULL: nothing is near enough */
} Nearest;

/* A search for names like word[length]: near enough is one edit for three letters. */
Nearest nearest_to(const char *word, size_t length);

/* Takes `name` if it is nearer than those before. */
void nearest_try(Nearest *nearest, const char *name);
