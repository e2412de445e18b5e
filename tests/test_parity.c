/* docs/parity.md is true as far as a test can see: every row that a source asks for is there once,
 * the tests, options, commands, functions and files that it names exist. */
#include <ctype.h>
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nn/layer.h"
#include "tests/program.h"
#include "train/command.h"
#include "train/options.h"

/* Numbers of the rows that a source asks for, as first..last. */
static const int wanted[][2] = {{1, 14}, {16, 21}, {23, 23}, {26, 50}, {52, 88}, {90, 135}};
enum { WANTED = sizeof wanted / sizeof *wanted };
/* Rows whose feature is not to be. */
static const int missing[] = {105, 0};

typedef struct Row {
    int number;
    char cell[5][512]; /* number, sources, feature, here, tests */
} Row;

static char *page, *headers; /* of the library, one behind the other */
static Row row[256];
static int rows;

static char *all_headers(void) {
    glob_t found;
    char *all = calloc(1, 1);
    size_t used = 0;
    if (glob("[adnoq]*/*.h", 0, NULL, &found) != 0 ||
        glob("[adnoq]*/*/*.h", GLOB_APPEND, NULL, &found) != 0)
        return all;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        size_t size;
        char *text = file_bytes(found.gl_pathv[i], &size);
        all = realloc(all, used + size + 1);
        memcpy(all + used, text, size);
        all[used += size] = 0;
        free(text);
    }
    globfree(&found);
    return all;
}

/* Lines "| number | ... |" of the page. */
static void read_rows(void) {
    for (const char *line = page; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        int number;
        if (sscanf(line, "| %d |", &number) != 1) continue;
        assert_true(rows < 256);
        Row *r = &row[rows++];
        r->number = number;
        const char *from = line + 1;
        for (int c = 0; c < 5; c++) {
            size_t length = strcspn(from, "|\n");
            if (from[length] != '|') fail_msg("row %d has too few cells", number);
            if (length >= sizeof r->cell[c]) fail_msg("row %d: a cell is too long", number);
            memcpy(r->cell[c], from, length);
            from += length + 1;
        }
        if (*from != '\n') fail_msg("row %d has too many cells", number);
    }
}

static bool listed(const int list[], int number) {
    while (*list && *list != number) list++;
    return *list == number;
}

/* The words in backquotes of a cell, one after the other; NULL at the end. */
static const char *next_word(const char **at, char word[256]) {
    const char *open = strchr(*at, '`'), *close = open ? strchr(open + 1, '`') : NULL;
    if (!close) return NULL;
    snprintf(word, 256, "%.*s", (int)(close - open - 1), open + 1);
    *at = close + 1;
    return word;
}

/* --- tests --- */

static void every_row_is_there_once(void **state) {
    (void)state;
    int at = 0;
    for (int i = 0; i < WANTED; i++)
        for (int number = wanted[i][0]; number <= wanted[i][1]; number++, at++)
            if (at >= rows || row[at].number != number)
                fail_msg("row %d is not where it belongs", number);
    assert_int_equal(rows, at);
    for (int i = 0; i < rows; i++)
        for (int c = 0; c < 5; c++)
            if (strspn(row[i].cell[c], " ") == strlen(row[i].cell[c]))
                fail_msg("row %d has an empty cell", row[i].number);
}

static void only_listed_rows_are_open(void **state) {
    (void)state;
    for (int i = 0; i < rows; i++) {
        const char *held = row[i].cell[4];
        if ((strcmp(held, " missing ") == 0) != listed(missing, row[i].number))
            fail_msg("row %d: missing in the page or in this test, not in both", row[i].number);
    }
}

/* FUNCTION is defined as a test in tests/test_NAME.c, and named once more, where it is run. */
static void must_be_a_test(int number, const char *word) {
    char path[300], definition[300];
    const char *colon = strchr(word, ':');
    if (!colon || strncmp(word, "test_", 5) != 0) fail_msg("row %d: '%s' is no test", number, word);
    snprintf(path, sizeof path, "tests/%.*s.c", (int)(colon - word), word);
    char *source = file_bytes(path, NULL);
    if (!source) fail_msg("row %d: no file %s", number, path);
    snprintf(definition, sizeof definition, "static void %s(void **state)", colon + 1);
    const char *defined = strstr(source, definition);
    if (!defined) fail_msg("row %d: %s has no %s", number, path, colon + 1);
    if (!strstr(defined + strlen(definition), colon + 1))
        fail_msg("row %d: %s is not run", number, word);
    free(source);
}

static void every_test_exists(void **state) {
    (void)state;
    for (int i = 0; i < rows; i++) {
        if (listed(missing, row[i].number)) continue;
        const char *at = row[i].cell[4];
        char word[256];
        int count = 0;
        for (; next_word(&at, word); count++) must_be_a_test(row[i].number, word);
        if (!count) fail_msg("row %d is held by no test", row[i].number);
    }
}

static bool is_identifier(const char *word) {
    if (!strchr(word, '_') && !isupper((unsigned char)*word)) return false;
    for (; *word; word++)
        if (!isalnum((unsigned char)*word) && *word != '_') return false;
    return true;
}

/* `stair command --option ...`, `--option ...`, `path/file`, `function` or `Type`; other words are
 * a configuration's. */
static void must_exist(int number, const char *text) {
    char copy[256], *rest = copy, *word;
    snprintf(copy, sizeof copy, "%s", text);
    bool first = true, of_stair = false;
    while ((word = strsep(&rest, " "))) {
        if (of_stair && !command_find(word)) fail_msg("row %d: no command %s", number, word);
        of_stair = first && strcmp(word, "stair") == 0;
        first = false;
        if (strncmp(word, "--", 2) == 0 && !option_find(word + 2))
            fail_msg("row %d: no option %s", number, word);
        if (strchr(word, '/') && !file_exists(word)) fail_msg("row %d: no file %s", number, word);
    }
    if (is_identifier(text) && !strstr(headers, text) && !layer_find(text))
        fail_msg("row %d: no header has %s, and it is no layer", number, text);
}

static void what_is_named_exists(void **state) {
    (void)state;
    for (int i = 0; i < rows; i++) {
        const char *at = row[i].cell[3];
        char word[256];
        while (next_word(&at, word)) must_exist(row[i].number, word);
    }
}

static int setup(void **state) {
    (void)state;
    page = file_bytes("docs/parity.md", NULL);
    headers = all_headers();
    if (page) read_rows();
    return page ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    free(page);
    free(headers);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_there_once),
        cmocka_unit_test(only_listed_rows_are_open),
        cmocka_unit_test(every_test_exists),
        cmocka_unit_test(what_is_named_exists),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
