/* The help texts, made of the tables: an option's line and its parsing cannot disagree. */
#include <string.h>

#include "nn/zoo.h"
#include "train/command.h"

enum { WIDTH = 80, NAMES = 30 /* columns of the options' names, with their margins */ };

/* Prints `text`, which begins in column `column`, broken between words; later lines begin at
 * `indent`. */
static void print_wrapped(FILE *file, const char *text, int column, int indent) {
    for (bool first = true; *text; first = false) {
        int length = (int)strcspn(text, " ");
        if (!first && column + 1 + length > WIDTH) {
            fprintf(file, "\n%*s", indent, "");
            column = indent;
        } else if (!first) {
            fputc(' ', file);
            column++;
        }
        fprintf(file, "%.*s", length, text);
        column += length;
        text += length;
        text += strspn(text, " ");
    }
    fputc('\n', file);
}

static void print_option(FILE *file, const OptionUse *use) {
    const Option *option = option_find(use->name);
    char names[64], line[512], takes[256];
    const char *fallback = option_default(option, use);
    const char *shown = fallback ? fallback : use->shown ? use->shown : option->shown;

    snprintf(names, sizeof names, "%c%c%c --%s%s%s", option->letter ? '-' : ' ',
             option->letter ? option->letter : ' ', option->letter ? ',' : ' ', option->name,
             option->argument ? " " : "", option->argument ? option->argument : "");
    snprintf(line, sizeof line, "%s%s%s%s%s%s", option->help, option->choice ? ": " : "",
             option->choice ? option_takes(option, use, takes, sizeof takes) : "",
             shown ? " [" : "", shown ? shown : "", shown ? "]" : "");
    int column = fprintf(file, "  %-*s ", NAMES - 3, names);
    if (column > NAMES) fprintf(file, "\n%*s", NAMES, "");
    print_wrapped(file, line, NAMES, NAMES);
}

static void print_usage(FILE *file, const Command *command) {
    fprintf(file, "usage: stair %s", command->name);
    if (*command->arguments) fprintf(file, " %s", command->arguments);
    for (const OptionUse *use = command->options; use->name; use++) {
        const Option *option = option_find(use->name);
        if (!use->required) continue;
        if (option->letter)
            fprintf(file, " -%c %s", option->letter, option->argument);
        else
            fprintf(file, " --%s %s", option->name, option->argument);
    }
    fprintf(file, " [options]\n");
}

void help_command(FILE *file, const Command *command) {
    print_usage(file, command);
    fprintf(file, "\n%s\n\noptions [default]:\n", command->summary);
    for (int i = 0; i < option_count; i++) {
        const OptionUse *use = command_takes(command, option_list[i].name);
        if (use) print_option(file, use);
    }
    if (command->more_help) command->more_help(file);
    fprintf(file, "\nexamples:\n");
    for (const char *line = command->examples; *line; line += strcspn(line, "\n") + 1)
        fprintf(file, "  %.*s\n", (int)strcspn(line, "\n"), line);
}

static void print_commands(FILE *file) {
    for (int i = 0; command_list[i]; i++)
        fprintf(file, "  %-11s %s\n", command_list[i]->name, command_list[i]->summary);
}

void help_short(FILE *file) {
    fprintf(file, "usage: stair COMMAND [arguments] [options]\n"
                  "commands:");
    for (int i = 0; command_list[i]; i++) fprintf(file, " %s", command_list[i]->name);
    fprintf(file, "\n'stair --help' says more\n");
}

void help_program(FILE *file) {
    fprintf(file, "usage: stair COMMAND [arguments] [options]\n\n"
                  "stair trains small networks in float and ships them as integers.\n\n"
                  "commands, in the order a model goes through them:\n");
    print_commands(file);
    fprintf(file,
            "\n'stair help COMMAND' lists a command's options, 'stair help layers' what a net "
            "is made of;\n'stair --version' says which stair this is.\n\nexit status:\n");
#define X(name, exit, meaning) fprintf(file, "  %-10d %s\n", exit, meaning);
    ERROR_LIST(X)
#undef X
    fprintf(file, "  %-10s %s\n", "128+N", "ended by signal N");
}

void help_layers(FILE *file) {
    fprintf(file,
            "A net is a text, FILE.net, of one node a line; the last is its output:\n\n"
            "  NAME = LAYER INPUT... [FIELD=VALUE]...    # comment\n\n"
            "Sizes are one number for all dimensions or one for each, kernel=3x5; padding may "
            "differ\nbetween the beginning and the end, padding=0:1.\n\nlayers:\n");
    for (int i = 0; layer_list[i]; i++)
        fprintf(file, "  %-17s %s\n", layer_list[i]->name, layer_list[i]->summary);
    fprintf(file, "\nnets of the zoo, for --model:\n");
    for (int i = 0; zoo_list[i].name; i++)
        fprintf(file, "  %-17s %s\n", zoo_list[i].name, zoo_list[i].summary);
}
