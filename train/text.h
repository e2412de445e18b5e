/* Text for people: appending within bounds. */
#pragma once

#include <stddef.h>

/* Appends to the text in text[size]; what does not fit is cut. */
void text_append(char *text, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
