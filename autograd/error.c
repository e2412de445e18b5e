#include "autograd/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool error_set(Error *error, ErrorCode code, const char *format, ...) {
    if (!error || error->code != ERROR_NONE) return false;
    error->code = code;
    va_list args;
    va_start(args, format);
    vsnprintf(error->message, sizeof error->message, format, args);
    va_end(args);
    return false;
}

const char *error_meaning(int code) {
    static const struct {
        int code;
        const char *meaning;
    } list[] = {
#define X(name, exit, meaning) {exit, meaning},
        ERROR_LIST(X)
#undef X
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i].code == code) return list[i].meaning;
    return "unknown";
}

_Noreturn void check_failed(const char *file, int line, const char *condition, const char *format,
                            ...) {
    fprintf(stderr, "%s:%d: check failed: %s: ", file, line, condition);
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    abort();
}
