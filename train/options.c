/* The table of options, and how their values are read. */
#include "train/options.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernels/parallel.h"
#include "optim/optim.h"
#include "optim/schedule.h"
#include "quant/bn.h"
#include "quant/method.h"
#include "quant/qparams.h"
#include "train/text.h"

/* How values of one type are read and named: all that depends on an option's type. */
struct OptionKind {
    const char *what; /* "a whole number"; NULL: takes no value */
    bool number;      /* has a range */
    /* False, and *value as it was, if the text is not such a value or not in the range. */
    bool (*read)(const Option *option, const OptionUse *use, const char *text, void *value);
};

/* strtoull takes blanks, too: only these characters come near it. */
static bool made_of(const char *text, const char *characters) {
    return *text && text[strspn(text, characters)] == '\0';
}

static bool in_range(const Option *option, double number) {
    return number >= option->min && number <= option->max;
}

static bool read_number(const Option *option, const OptionUse *use, const char *text, void *value) {
    double number;
    if (!text_number(text, &number) || !in_range(option, number)) return false;
    if (use && use->whole && number != floor(number)) return false;
    *(double *)value = number;
    return true;
}

/* A magnitude and its sign; what is too large becomes the largest there is, past every range. */
static bool read_digits(const char *text, bool *negative, uint64_t *magnitude) {
    *negative = *text == '-';
    if (*text == '-' || *text == '+') text++;
    if (!made_of(text, "0123456789")) return false;
    *magnitude = strtoull(text, NULL, 10);
    return true;
}

static bool read_size(const Option *option, const OptionUse *use, const char *text, void *value) {
    (void)use;
    bool negative;
    uint64_t magnitude;
    if (!read_digits(text, &negative, &magnitude) || (negative && magnitude > 0)) return false;
    if (!in_range(option, (double)magnitude)) return false;
    *(uint64_t *)value = magnitude;
    return true;
}

static bool read_int(const Option *option, const OptionUse *use, const char *text, void *value) {
    (void)use;
    bool negative;
    uint64_t magnitude;
    if (!read_digits(text, &negative, &magnitude) || magnitude > INT_MAX) return false;
    int number = negative ? -(int)magnitude : (int)magnitude;
    if (!in_range(option, number)) return false;
    *(int *)value = number;
    return true;
}

static bool read_text(const Option *option, const OptionUse *use, const char *text, void *value) {
    (void)use;
    const char **place = value;
    if (!option->choice) {
        if (*text) *place = text;
        return *text;
    }
    for (int i = 0; option->choice(i); i++)
        if (strcmp(option->choice(i), text) == 0) {
            *place = option->choice(i);
            return true;
        }
    return false;
}

/* One number, or first..last, which may fall. */
static bool read_span(const Option *option, const char *text, IntList *list) {
    char word[64];
    snprintf(word, sizeof word, "%s", text);
    char *dots = strstr(word, "..");
    if (dots) *dots = '\0';
    int first, last;
    if (!read_int(option, NULL, word, &first) ||
        !read_int(option, NULL, dots ? dots + 2 : word, &last))
        return false;
    for (int step = first <= last ? 1 : -1;; first += step) {
        if (list->count == INT_LIST_MOST) return false;
        list->value[list->count++] = first;
        if (first == last) return true;
    }
}

static bool read_list(const Option *option, const OptionUse *use, const char *text, void *value) {
    IntList list = {0};
    char copy[256];
    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy) return false;
    for (char *rest = copy, *word; (word = strsep(&rest, ","));)
        if (!read_span(option, word, &list)) return false;
    for (int i = 0; i < list.count; i++) /* a number twice is a slip */
        for (int k = 0; k < i; k++)
            if (list.value[i] == list.value[k]) return false;
    if (list.count > 1 && !(use && use->many)) return false;
    *(IntList *)value = list;
    return true;
}

static bool read_flag(const Option *option, const OptionUse *use, const char *text, void *value) {
    (void)option, (void)use, (void)text;
    *(bool *)value = true;
    return true;
}

static const OptionKind int_kind = {.what = "a whole number", .number = true, .read = read_int};
static const OptionKind size_kind = {.what = "a whole number", .number = true, .read = read_size};
static const OptionKind number_kind = {.what = "a number", .number = true, .read = read_number};
static const OptionKind text_kind = {.what = "a non-empty text", .read = read_text};
static const OptionKind list_kind = {.what = "a whole number", .number = true, .read = read_list};
static const OptionKind flag_kind = {.read = read_flag};

/* clang-format off: it takes the types for labels */
#define KIND_OF(field)                                                                             \
    _Generic(((Settings *)0)->field, int: &int_kind, uint64_t: &size_kind, double: &number_kind,   \
             const char *: &text_kind, bool: &flag_kind, IntList: &list_kind)
/* clang-format on */

static const char *split_name(int i) {
    static const char *const names[] = {"test", "train", NULL};
    return names[i];
}

const Option option_list[] = {
#define ROW(field, ...) {.kind = KIND_OF(field), .offset = offsetof(Settings, field), __VA_ARGS__},
#include "train/options.def"
#undef ROW
};
enum { OPTIONS = sizeof option_list / sizeof *option_list };
const int option_count = OPTIONS;
_Static_assert(OPTIONS <= 64, "Settings.given has one bit for each option");

const Option *option_find(const char *name) {
    for (int i = 0; i < OPTIONS; i++)
        if (strcmp(option_list[i].name, name) == 0) return &option_list[i];
    return NULL;
}

const char *option_default(const Option *option, const OptionUse *use) {
    if (use && (use->fallback || use->shown)) return use->fallback;
    return option->fallback;
}

const char *option_takes(const Option *option, const OptionUse *use, char *text, size_t size) {
    const OptionKind *kind = use && use->whole ? &int_kind : option->kind;
    *text = '\0';
    if (option->choice)
        for (int i = 0; option->choice(i); i++) {
            const char *before = i == 0 ? "" : option->choice(i + 1) ? ", " : " or ";
            text_append(text, size, "%s%s", before, option->choice(i));
        }
    else
        text_append(text, size, "%s", kind->what ? kind->what : "no value");
    if (kind->number) text_append(text, size, " from %.16g to %.16g", option->min, option->max);
    if (use && use->many)
        text_append(text, size, ", or several, like %s",
                    option->fallback ? "8..4 or 8,6,4" : "0,1,2");
    return text;
}

bool option_read(const Option *option, const OptionUse *use, const char *text, Settings *settings,
                 Error *error) {
    char takes[256];
    if (option->kind->read(option, use, text, (char *)settings + option->offset)) return true;
    return error_set(error, ERROR_USAGE, "--%s takes %s, not \"%.64s\"", option->name,
                     option_takes(option, use, takes, sizeof takes), text);
}
