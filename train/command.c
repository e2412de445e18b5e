/* From the words of the command line to a command's run, and from its Error to text and status. */
#include "train/command.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "autograd/file.h"
#include "autograd/kernels/parallel.h"
#include "nn/nearest.h"
#include "nn/zoo.h"

#define COMMAND(name) extern const Command name##_command;
#include "train/commands.def"
#undef COMMAND

const Command *const command_list[] = {
#define COMMAND(name) &name##_command,
#include "train/commands.def"
#undef COMMAND
    NULL,
};

/* OpenBLAS's description of itself; weak, because other BLAS libraries have no such function. */
extern char *openblas_get_config(void) __attribute__((weak));

const Command *command_find(const char *name) {
    for (int i = 0; command_list[i]; i++)
        if (strcmp(command_list[i]->name, name) == 0) return command_list[i];
    return NULL;
}

const OptionUse *command_takes(const Command *command, const char *option) {
    for (const OptionUse *use = command->options; use->name; use++)
        if (strcmp(use->name, option) == 0) return use;
    return NULL;
}

/* Prints the error for people; returns the exit status. Control characters may come from a file's
 * name: they must not reach a terminal. */
static int report(const Error *error) {
    fputs("stair: ", stderr);
    for (const char *c = error->message; *c; c++) {
        bool control = ((unsigned char)*c < ' ' && *c != '\n') || *c == 127;
        fputc(control ? '?' : *c, stderr);
    }
    fputc('\n', stderr);
    return (int)error->code;
}

static const Command *find_or_suggest(const char *name, Error *error) {
    const Command *command = command_find(name);
    if (command) return command;
    Nearest nearest = nearest_to(name, strlen(name));
    for (int i = 0; command_list[i]; i++) nearest_try(&nearest, command_list[i]->name);
    if (*name == '-')
        error_set(error, ERROR_USAGE, "%.64s: options come after the command; see 'stair --help'",
                  name);
    else if (nearest.best)
        error_set(error, ERROR_USAGE, "no command \"%.64s\"; did you mean %s?", name, nearest.best);
    else
        error_set(error, ERROR_USAGE, "no command \"%.64s\"; 'stair --help' lists them", name);
    return NULL;
}

/* Results that could not be written are a failure. */
static bool flush_results(Error *error) {
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return true;
    return error_set(error, ERROR_IO, "standard output: %s",
                     errno ? strerror(errno) : "write error");
}

static int run_help(int argc, char *argv[]) {
    Error error = {0};
    if (argc == 0) {
        help_program(stdout);
    } else if (strcmp(argv[0], "layers") == 0) {
        help_layers(stdout);
    } else {
        const Command *command = find_or_suggest(argv[0], &error);
        if (command) help_command(stdout, command);
    }
    return flush_results(&error) && !error.code ? 0 : report(&error);
}

static int run_version(void) {
    printf("stair %s\n", STAIR_VERSION);
    if (openblas_get_config) printf("%s\n", openblas_get_config());
    Error error = {0};
    return flush_results(&error) ? 0 : report(&error);
}

static bool is_input(const Settings *s, const char *path) {
    if (file_same(path, s->config)) return true;
    if (s->model && !zoo_find(s->model) && file_same(path, s->model)) return true;
    for (int i = 0; i < s->argument_count; i++)
        if (file_same(path, s->arguments[i])) return true;
    return false;
}

/* A result must not replace what it was made from, nor another result. */
static bool outputs_are_new(const Settings *s, Error *error) {
    const char *const outputs[] = {s->output, s->predictions, s->log, s->csv, s->write_config};
    enum { OUTPUTS = sizeof outputs / sizeof *outputs };
    for (int i = 0; i < OUTPUTS; i++) {
        const char *out = outputs[i];
        if (!out) continue;
        bool resumed = i > 0 && file_same(out, s->resume); /* a run itself goes on in its file */
        if (resumed || is_input(s, out))
            return error_set(error, ERROR_USAGE, "%s is input and output; name another output",
                             out);
        for (int k = 0; k < i; k++)
            if (outputs[k] && (strcmp(out, outputs[k]) == 0 || file_same(out, outputs[k])))
                return error_set(error, ERROR_USAGE, "%s would be written twice", out);
    }
    return true;
}

static int run_command(const Command *command, const Settings *settings, Error *error) {
    /* The work of a command that writes a file is the file: it goes on when nobody listens. The
     * work of the others is what they print: they end with their reader (`| head`). */
    bool writes = command_takes(command, "output");
    signal(SIGPIPE, writes ? SIG_IGN : SIG_DFL);
    if (command_takes(command, "threads")) {
        int threads = parallel_start(settings->threads);
        if (threads < settings->threads)
            fprintf(stderr, "stair: only %d of %d threads could be started\n", threads,
                    settings->threads);
    }
    int status = command->run(settings, error);
    if (!writes) flush_results(error);
    return status;
}

int command_line(int argc, char *argv[]) {
    Error error = {0};
    Settings settings;
    if (argc == 0) {
        help_short(stderr);
        return ERROR_USAGE;
    }
    const char *word = argv[0];
    if (!strcmp(word, "help")) return run_help(argc - 1, argv + 1);
    if (!strcmp(word, "--help") || !strcmp(word, "-h")) return run_help(0, NULL);
    if (!strcmp(word, "--version")) return run_version();

    const Command *command = find_or_suggest(word, &error);
    if (!command || !options_parse(command, argc - 1, argv + 1, &settings, &error))
        return report(&error);
    if (settings.help) return run_help(1, argv);
    if (!outputs_are_new(&settings, &error)) return report(&error);
    int status = run_command(command, &settings, &error);
    return error.code ? report(&error) : status;
}
