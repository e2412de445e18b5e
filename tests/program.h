/* Runs the real program, build/stair or what $STAIR names, as a user would: command lines in a
 * folder of their own, and what came out of them. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Group setup and teardown: an empty folder (tests/scratch.h), which becomes the working directory.
 */
int program_setup(void **state);
int program_teardown(void **state);
/* The same setup, with the nets and data below, a folder `folder`, and a file of each stage that
 * tiny.net makes of them: float.st, calibrated.st, qat.st and frozen.st. */
int program_stages(void **state);

/* What the last command line printed; valid until the next one. */
typedef struct Printed {
    char *out, *err;
} Printed;
extern Printed printed;

/* Runs a line of the shell, in which "$STAIR" is the program; returns its exit status, 128 + signal
 * if one ended it. A line that takes minutes is ended by SIGALRM. */
int shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same for `stair ARGUMENTS`. */
int stair(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* `stair ARGUMENTS` in two halves, for those who send signals meanwhile. */
pid_t stair_start(const char *format, ...) __attribute__((format(printf, 1, 2)));
int stair_finish(pid_t pid);

/* Runs `stair ARGUMENTS`: it must succeed, or end with `status`, nothing on standard output, and
 * one line (a list may follow, behind a colon) on standard error that begins with "stair: " and
 * holds `fragment`. */
void must(const char *format, ...) __attribute__((format(printf, 1, 2)));
void refused(int status, const char *fragment, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The last command's standard output as one JSON object on one line; a new reference. */
json_t *printed_json(void);
/* The object has these members, in this order: "stage engine images". */
void assert_keys(const json_t *object, const char *keys);

/* Members of an object, which must be there and of that kind. */
double member_number(const json_t *object, const char *key);
const char *member_text(const json_t *object, const char *key);
/* `stair verify FILE --data data` finds no code that differs, and says so in every number. */
void must_verify(const char *file);
/* What `stair eval FILE --data data` says. */
double accuracy_of(const char *file);

/* Whole files: a text owned by the caller (NULL if there is none), and comparisons. */
char *file_bytes(const char *path, size_t *size);
void file_put(const char *path, const void *data, size_t size);
void file_text(const char *path, const char *text);
bool file_exists(const char *path);
bool same_bytes(const char *path, const char *other);
/* No temporary of a save is left in the working directory. */
void assert_no_temporaries(void);

/* An IDX data set of 12 x 12 images in `folder`: class i has its bright quarter, noise elsewhere;
 * four classes, which every net separates. */
enum { IDX_SIDE = 12, IDX_CLASSES = 4 };
void write_idx(const char *folder, int train, int test);

/* Nets for these images: tiny.net (conv2d, batchnorm, relu, maxpool) and residual.net (add,
 * avgpool, dropout besides). */
void write_nets(void);
