/* Commands: what stands behind `stair NAME`.
 *
 * To add a command: train/cmd_NAME.c with `const Command NAME_command`, and the line COMMAND(NAME)
 * in train/commands.def. Its help, its parsing and the list in `stair --help` come from the row. */
#pragma once

#include <stdio.h>

#include "train/options.h"

#define STAIR_VERSION "0.1.0"

struct Command {
    const char *name;
    const char *summary;           /* one line, for the list of commands */
    const char *arguments;         /* "IN IMAGE...", "" for none */
    int least, most;               /* how many of them */
    const OptionUse *options;      /* by TAKES; ends with {0} */
    void (*more_help)(FILE *file); /* printed behind the options; NULL: nothing */
    const char *examples;          /* lines "stair NAME ...", each with its newline */
    /* Returns the exit status: 0, or 128 + signal when stopped by one. A failure is told in *error,
     * and its code is the status then, whatever is returned. */
    int (*run)(const Settings *settings, Error *error);
};

/* TAKES("epochs", .fallback = "1"): a row of Command.options. */
#define TAKES(option, ...)                                                                         \
    { .name = option, __VA_ARGS__ }
/* what every command takes */
#define TAKES_COMMON TAKES("quiet"), TAKES("help")
/* what every command that trains takes, its learning rate and length apart */
#define TAKES_TRAINING                                                                             \
    TAKES("data"), TAKES("limit"), TAKES("batch"), TAKES("momentum"), TAKES("weight-decay"),       \
        TAKES("nesterov"), TAKES("schedule"), TAKES("warmup"), TAKES("step-size"), TAKES("gamma"), \
        TAKES("threads")

/* The list: every command of commands.def, NULL at its end. */
extern const Command *const command_list[];
const Command *command_find(const char *name); /* NULL when there is none */

/* How the command takes the option; NULL if it does not. */
const OptionUse *command_takes(const Command *command, const char *option);

/* Texts made of the tables: a few lines, the help of the program, that of a command, what nets are
 * made of. */
void help_short(FILE *file);
void help_program(FILE *file);
void help_layers(FILE *file);
void help_command(FILE *file, const Command *command);

/* Runs the words behind the program's name; returns the exit status. Prints help to stdout, errors
 * to stderr. */
int command_line(int argc, char *argv[]);
