/* The one parser that every command uses: words, and whether they fit together. */
#include <stdio.h>
#include <string.h>

#include "nn/nearest.h"
#include "train/command.h"
#include "train/text.h"

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
    for (int i = 0; i < option_count; i++)
        if (option_list[i].letter == word[1]) return &option_list[i];
    return NULL;
}

/* The option of `--name` or `--name=value`; *value is what stands behind '=', or NULL. */
static const Option *find_name(const char *word, const char **value) {
    const char *name = word + 2;
    size_t length = strcspn(name, "=");
    if (strncmp(word, "--", 2) != 0) return NULL;
    if (name[length]) *value = name + length + 1;
    for (int i = 0; i < option_count; i++)
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

    if (option->argument) {
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

/* An option that would change nothing is refused: who gives it believes that it does. A resumed run
 * has its file's options: what is given besides is held against those. */
static bool has_effect(const Option *option, const Settings *settings, Error *error) {
    if (!option->needs || settings->resume) return true;
    const Option *needed = option_find(option->needs);
    const char *value = option->needs_value, *text = NULL;
    if (value) text = *(const char *const *)((const char *)settings + needed->offset);
    if (value ? strcmp(text, value) == 0 : settings_given(settings, needed->name)) return true;
    return error_set(error, ERROR_USAGE, "--%s says nothing without --%s%s%s", option->name,
                     needed->name, value ? " " : "", value ? value : "");
}

static bool check_options(const Command *command, const Settings *settings, Error *error) {
    for (const OptionUse *use = command->options; use->name; use++) {
        const Option *option = option_find(use->name);
        bool given = settings_given(settings, use->name);
        if (given && option->against && settings_given(settings, option->against))
            return error_set(error, ERROR_USAGE, "--%s contradicts --%s", option->name,
                             option->against);
        if (given && !has_effect(option, settings, error)) return false;
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
