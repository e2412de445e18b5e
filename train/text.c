#include "train/text.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* strtod takes blanks, hexadecimal and "nan", too: only these characters come near it. */
bool text_number(const char *text, double *number) {
    char *end;
    if (!*text || text[strspn(text, "0123456789+-.eE")]) return false;
    double value = strtod(text, &end);
    if (*end || !isfinite(value)) return false;
    *number = value;
    return true;
}

void text_append(char *text, size_t size, const char *format, ...) {
    size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, size - used, format, args);
    va_end(args);
}
