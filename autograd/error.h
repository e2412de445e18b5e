/* Two kinds of wrong, two mechanisms.
 *
 * The world is wrong (a file, an option, a net that cannot be built): the function returns false or
 * NULL and fills the caller's Error with a code, which is the program's exit status, and a message
 * that names the file or node, the place and the reason.
 * The programmer is wrong (shapes that cannot meet, a NULL): CHECK ends the program, in every
 * build. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/*        name      exit  meaning */
#define ERROR_LIST(X)                                                                              \
    X(NONE, 0, "ok")                                                                               \
    X(IO, 1, "input/output or memory failure")                                                     \
    X(USAGE, 2, "wrong usage")                                                                     \
    X(INPUT, 3, "bad input file")                                                                  \
    X(DIVERGED, 4, "training diverged")                                                            \
    X(MISSED, 5, "a check was missed")

typedef enum {
#define X(name, exit, meaning) ERROR_##name = exit,
    ERROR_LIST(X)
#undef X
} ErrorCode;

typedef struct Error {
    ErrorCode code;
    char message[2048]; /* without a newline at its end; longer texts are cut */
} Error;

/* Fills *error and returns false, so that `return error_set(...)` ends a failing function. The
 * first error stays: a later call on the same Error changes nothing. error may be NULL. */
bool error_set(Error *error, ErrorCode code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What a code means, from the list above; "unknown" for other numbers. */
const char *error_meaning(int code);

#define CHECK(condition, ...)                                                                      \
    ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition, __VA_ARGS__))

_Noreturn void check_failed(const char *file, int line, const char *condition, const char *format,
                            ...) __attribute__((format(printf, 4, 5)));
