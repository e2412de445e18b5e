/* The table of options, and the one parser that every command uses. */
#include "train/options.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/kernels/parallel.h"
#include "nn/nearest.h"
#include "optim/optim.h"
#include "optim/schedule.h"
#include "quant/bn.h"
#include "quant/method.h"
#include "quant/qparams.h"
#include "train/command.h"
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

static uint64_t bit_of(const Option *option) {
    return UINT64_C(1) << (option - option_list);
}

bool settings_given(const Settings *settings, const char *name) {
    const Option *option = option_find(name);
    CHECK(option, "no option --%s", name);
    return settings->given & bit_of(option);
}

/* The words being parsed. */
typedef struct Line {
    const Command *command;
    int count, at; /* of the words, and which one is next */
    char **word;   /* [count] */
    Settings *settings;
    Error *error;
} Line;

static const Option *find_letter(const char *word) {
    if (word[0] != '-' || !word[1] || word[2]) return NULL;
    for (int i = 0; i < OPTIONS; i++)
        if (option_list[i].letter == word[1]) return &option_list[i];
    return NULL;
}

/* The option of `--name` or `--name=value`; *value is what stands behind '=', or NULL. */
static const Option *find_name(const char *word, const char **value) {
    const char *name = word + 2;
    size_t length = strcspn(name, "=");
    if (strncmp(word, "--", 2) != 0) return NULL;
    if (name[length]) *value = name + length + 1;
    for (int i = 0; i < OPTIONS; i++)
        if (!strncmp(option_list[i].name, name, length) && !option_list[i].name[length])
            return &option_list[i];
    return NULL;
}

static bool unknown_option(const Line *line, const char *word) {
    const char *name = word + strspn(word, "-");
    Nearest nearest = nearest_to(name, strcspn(name, "="));
    for (const OptionUse *use = line->command->options; use->name; use++)
        nearest_try(&nearest, use->name);
    if (nearest.best)
        return error_set(line->error, ERROR_USAGE, "unknown option %.64s; did you mean --%s?", word,
                         nearest.best);
    return error_set(line->error, ERROR_USAGE,
                     "unknown option %.64s; 'stair help %s' lists those there are", word,
                     line->command->name);
}

static bool foreign_option(const Line *line, const Option *option) {
    char owners[256] = "";
    for (int i = 0; command_list[i]; i++)
        if (command_takes(command_list[i], option->name))
            text_append(owners, sizeof owners, "%s%s", *owners ? ", " : "", command_list[i]->name);
    return error_set(line->error, ERROR_USAGE, "--%s belongs to %s; %s does not take it",
                     option->name, owners, line->command->name);
}

/* The value of an option that needs one: behind its '=', or the next word. NULL, and the error, if
 * there is none. */
static const char *take_value(Line *line, const Option *option, const OptionUse *use,
                              const char *value) {
    char takes[256];
    if (value) return value;
    const char *next = line->at < line->count ? line->word[line->at] : NULL;
    if (next && strncmp(next, "--", 2) != 0 && !find_letter(next)) {
        line->at++;
        return next;
    }
    error_set(line->error, ERROR_USAGE, "--%s needs a value: %s", option->name,
              option_takes(option, use, takes, sizeof takes));
    return NULL;
}

static bool parse_option(Line *line, const char *word) {
    const char *value = NULL;
    const Option *option = find_letter(word);
    if (!option) option = find_name(word, &value);
    if (!option) return unknown_option(line, word);
    const OptionUse *use = command_takes(line->command, option->name);
    if (!use) return foreign_option(line, option);

    if (option->kind->what) {
        value = take_value(line, option, use, value);
        if (!value) return false;
    } else if (value) {
        return error_set(line->error, ERROR_USAGE, "--%s takes no value", option->name);
    }
    line->settings->given |= bit_of(option);
    return option_read(option, use, value, line->settings, line->error);
}

static void set_defaults(const Command *command, Settings *settings) {
    *settings = (Settings){0};
    for (const OptionUse *use = command->options; use->name; use++) {
        const Option *option = option_find(use->name);
        CHECK(option, "%s takes --%s, which is no option", command->name, use->name);
        const char *text = option_default(option, use);
        Error error = {0};
        if (text && !option_read(option, use, text, settings, &error))
            CHECK(false, "%s: default of %s", command->name, error.message);
    }
}

static bool check_options(const Command *command, const Settings *settings, Error *error) {
    for (const OptionUse *use = command->options; use->name; use++) {
        const Option *option = option_find(use->name);
        bool given = settings_given(settings, use->name);
        if (given && option->against && settings_given(settings, option->against))
            return error_set(error, ERROR_USAGE, "--%s contradicts --%s", option->name,
                             option->against);
        if (given || !use->required || (use->unless && settings_given(settings, use->unless)))
            continue;
        return error_set(error, ERROR_USAGE, "%s needs --%s %s", command->name, option->name,
                         option->argument);
    }
    return true;
}

static bool check_arguments(const Command *command, const Settings *settings, Error *error) {
    int count = settings->argument_count;
    for (int i = 0; i < count; i++)
        if (!*settings->arguments[i])
            return error_set(error, ERROR_USAGE, "argument %d is empty", i + 1);
    if (count >= command->least && count <= command->most) return true;
    if (count > command->most)
        return error_set(error, ERROR_USAGE, "unexpected argument \"%.64s\"; usage: stair %s %s",
                         settings->arguments[command->most], command->name, command->arguments);
    return error_set(error, ERROR_USAGE, "%s needs %s", command->name, command->arguments);
}

bool options_parse(const Command *command, int argc, char *argv[], Settings *settings,
                   Error *error) {
    Line line = {command, argc, 0, argv, settings, error};
    bool options = true; /* until `--` */
    set_defaults(command, settings);
    settings->arguments = argv;
    while (line.at < argc) {
        char *word = argv[line.at++];
        if (!options || word[0] != '-' || !word[1])
            argv[settings->argument_count++] = word;
        else if (!strcmp(word, "--"))
            options = false;
        else if (!parse_option(&line, word))
            return false;
        if (settings->help) return true;
    }
    return check_options(command, settings, error) && check_arguments(command, settings, error);
}
