/* Text from people and for them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Reads a decimal number, with a point, finite, and nothing else. False, and *number as it was, if
 * the text is none. */
bool text_number(const char *text, double *number);

/* Appends to the text in text[size]; what does not fit is cut. */
void text_append(char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
