/* Options: one list of all that any command takes (options.def), and the parser.
 *
 * A command names the options it takes and may change their default or narrow them; nothing is
 * written twice: help, parsing and error messages come from the rows. To add an option: a field of
 * Settings and a row of options.def. An option's kind follows from its field's type.
 *
 * Grammar: `--name value`, `--name=value`, `-o value`; options and other arguments in any order; of
 * an option given twice the last wins; after `--` nothing is an option. A word that begins with
 * `--` is no value (`--name=--x` makes it one). Numbers are decimal, with a point, and finite. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autograd/error.h"

/* Whole numbers: `8..2`, `8,6,4`, or one alone. */
enum { INT_LIST_MOST = 32 };
typedef struct IntList {
    int count;
    int value[INT_LIST_MOST];
} IntList;

/* What the command line said, defaults filled in. Text is NULL and a number 0 where an option has
 * no default and was not given. Text points into argv or the tables. */
typedef struct Settings {
    const char *model, *data, *output, *resume, *log, *config, *predictions, *csv, *augment, *keep,
        *rates;
    const char *disable_quant, *write_config, *prefix, *normalize, *graph_output;
    /* one of the option's choices, as the table spells it: */
    const char *optimizer, *schedule, *method, *split, *learn_ranges, *ste, *bn;
    double epochs, lr, momentum, weight_decay, gamma, percentile, drop;
    double freeze_bn_after, freeze_observers_after, finetune_epochs; /* epochs */
    int batch, warmup, step_size, threads, limit, images, size, index, element, adaround_steps;
    IntList bits, weight_bits, seeds;
    uint64_t seed;
    bool nesterov, fixed_scales, compare, portable, equalize, bias_correction, adaround, per_tensor;
    bool per_channel, dynamic, json, quiet, help;

    char *const *arguments; /* [argument_count] what is not an option, in order */
    int argument_count;
    uint64_t given; /* see settings_given */
} Settings;

typedef struct OptionKind OptionKind;

typedef struct Option {
    const char *name;           /* without its dashes */
    char letter;                /* 'o' for -o, or 0 */
    const char *argument;       /* what help calls the value; NULL for flags */
    const char *help;           /* lower case, no full stop */
    const char *fallback;       /* the default, as it would be typed; NULL: none */
    const char *shown;          /* what happens without the option, if it has no fallback */
    double min, max;            /* numbers: allowed, both included */
    const char *(*choice)(int); /* text: the i-th allowed word, NULL past the last */
    const char *against;        /* the option this one contradicts */
    const char *needs;          /* the option without which this one changes nothing */
    const char *needs_value;    /* the word that one must say; NULL: it must be given */
    const OptionKind *kind;     /* how a value is read */
    size_t offset;              /* of the field of Settings */
} Option;

/* An option as one command takes it. Zero fields leave the option as it is. */
typedef struct OptionUse {
    const char *name;
    const char *fallback, *shown; /* this command's own */
    bool required;
    const char *unless; /* an option that makes a required one superfluous */
    bool whole;         /* a number without fraction */
    bool many;          /* a list may have more than one number */
} OptionUse;

typedef struct Command Command;

extern const Option option_list[];
extern const int option_count;
const Option *option_find(const char *name); /* NULL when there is none */

/* The default in one command, as it would be typed; NULL when there is none. A use's own `shown`
 * says that it has none. use may be NULL. */
const char *option_default(const Option *option, const OptionUse *use);

/* Reads `text` as the option's value into *settings. On error: ERROR_USAGE, and the message names
 * the option, the text and what is allowed. use may be NULL. */
bool option_read(const Option *option, const OptionUse *use, const char *text, Settings *settings,
                 Error *error);

/* What the option takes: "a whole number from 1 to 65536", "cosine, step or constant". Cut to size;
 * returns `text`. */
const char *option_takes(const Option *option, const OptionUse *use, char *text, size_t size);

/* Parses argv[0 .. argc), the words behind the command's name, as `command` has it: first its
 * defaults, then the words. Other arguments are moved to the front of argv, which
 * settings->arguments is from then on. With --help nothing else is demanded. ERROR_USAGE. */
bool options_parse(const Command *command, int argc, char *argv[], Settings *settings,
                   Error *error);

/* Was the option on the command line? CHECKs that it exists. */
bool settings_given(const Settings *settings, const char *option);
