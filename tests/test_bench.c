/* What `make bench` would run: the page that bench/run.py makes without measuring, whose commands
 * must be ones that stair takes, on files that an earlier one makes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "train/command.h"

enum { MOST_WORDS = 24, MOST_MADE = 32, FILE_NAME = 64 };

static char made[MOST_MADE][FILE_NAME];
static int files;

static void make(const char *name) {
    assert_true(files < MOST_MADE);
    snprintf(made[files++], FILE_NAME, "%s", name);
}

static bool ends_with(const char *word, const char *end) {
    size_t length = strlen(word), tail = strlen(end);
    return length >= tail && strcmp(word + length - tail, end) == 0;
}

static void must_be_made(const char *word) {
    if (!ends_with(word, ".safetensors") && !ends_with(word, ".onnx") && !ends_with(word, ".net"))
        return;
    for (int i = 0; i < files; i++)
        if (strcmp(made[i], word) == 0) return;
    fail_msg("%s: no command makes it", word);
}

/* The words behind "stair". */
static void takes(int count, char *word[]) {
    const Command *command = command_find(word[0]);
    if (!command) fail_msg("stair %s: no such command", word[0]);
    Settings settings;
    Error error = {0};
    if (!options_parse(command, count - 1, word + 1, &settings, &error))
        fail_msg("stair %s: %s", word[0], error.message);
    for (int i = 0; i < settings.argument_count; i++) must_be_made(settings.arguments[i]);
    if (settings.model) must_be_made(settings.model);
    if (settings.output) make(settings.output);
}

/* One line of the page, a command in four blanks. */
static void check_command(char *line, int *stairs) {
    char *word[MOST_WORDS + 1];
    int count = 0, first = 0;
    for (char *w = strtok(line, " \n"); w; w = strtok(NULL, " \n")) {
        assert_true(count < MOST_WORDS);
        word[count++] = w;
    }
    while (first < count - 1 && strchr(word[first], '=')) first++; /* VARIABLE=value */
    const char *program = word[first];
    if (strcmp(program, "stair") == 0) {
        takes(count - first - 1, word + first + 1);
        ++*stairs;
        return;
    }
    assert_true(count >= 3); /* cp, python3 or node, a file of bench/, its arguments */
    if (access(word[1], R_OK) != 0) fail_msg("%s: there is no such file", word[1]);
    if (strcmp(program, "cp") == 0)
        make(strchr(word[1], '/') + 1);
    else if (count == 3)
        make(word[2]);
    else
        must_be_made(word[2]);
}

static void test_commands(void **state) {
    (void)state;
    if (system("python3 --version >/dev/null 2>&1") != 0) skip(); /* as little else needs it */
    FILE *page = popen("PYTHONDONTWRITEBYTECODE=1 python3 bench/run.py --dry", "r");
    assert_non_null(page);
    char line[512];
    int stairs = 0;
    while (fgets(line, sizeof line, page))
        if (strncmp(line, "    ", 4) == 0) check_command(line, &stairs);
    assert_int_equal(pclose(page), 0); /* every bar reads a row that there is */
    assert_true(stairs >= 25);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_commands)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
