/* The documentation tells the truth: every `stair ...` command of README.md and docs/ runs, in the
 * order in which they stand there, on few images; the net that README shows is one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "nn/graph.h"
#include "nn/zoo.h"
#include "tests/program.h"

static const char *const pages[] = {
    "README.md",         "docs/contract.md",      "docs/onnx.md",
    "docs/decisions.md", "docs/configuration.md", "docs/c_export.md"};
enum { PAGES = sizeof pages / sizeof *pages, C_EXPORT = PAGES - 1, CONFIGURATION = PAGES - 2 };
static char *page[PAGES]; /* their texts, read before the tests move to a folder of their own */

/* What keeps a command of the documentation short: of an option given twice the last wins. */
static const struct {
    const char *command, *options;
} few[] = {
    {"train", "--epochs 1 --limit 256 -q"},
    {"finetune", "--epochs 1 --limit 128 -q"},
    {"calibrate float.safetensors --weight-bits 3 --adaround", "--adaround-steps 5 --images 64 -q"},
    {"calibrate", "--images 64 -q"},
    {"eval", "--limit 64"},
    {"verify", "--limit 64"},
    {"sensitivity", "--limit 64 -q"},
    {"sweep", "--bits 8 --seeds 0 --images 64 --limit 64 --finetune-epochs 0 -q"},
};

static const char *options_for(const char *line) {
    for (size_t i = 0; i < sizeof few / sizeof *few; i++) {
        size_t length = strlen(few[i].command);
        if (strncmp(line, few[i].command, length) == 0 && line[length] == ' ')
            return few[i].options;
    }
    return "";
}

/* A command in `...` or alone in an indented line; COMMAND, NAME and the like stand for something
 * else. */
static bool is_command(const char *line) {
    return strncmp(line, "stair ", 6) == 0 && !strpbrk(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZ|<>");
}

static int run_command(const char *text, size_t length) {
    char line[512];
    assert_true(length < sizeof line);
    memcpy(line, text, length);
    line[length] = 0;
    if (!is_command(line)) return 0;
    must("%s %s", line + 6, options_for(line + 6));
    return 1;
}

static void every_command_runs(void **state) {
    (void)state;
    char picture[20 + 28 * 28];
    int used = snprintf(picture, sizeof picture, "P5 28 28 255\n");
    memset(picture + used, 9, 28 * 28); /* the content says that it is a PGM, whatever its name */
    file_put("shoe.png", picture, (size_t)used + 28 * 28);
    const char *affine =
        "{\"weight\": {\"symmetric\": false}}"; /* docs/configuration.md shows it */
    assert_non_null(strstr(page[CONFIGURATION], affine));
    file_put("affine.json", affine, strlen(affine));
    int commands = 0;
    for (int p = 0; p < PAGES; p++)
        for (const char *c = page[p]; (c = strstr(c, "stair ")) != NULL; c++) {
            if (c == page[p] || (c[-1] != '`' && strncmp(c - 4, "    ", 4) != 0)) continue;
            commands += run_command(c, strcspn(c, c[-1] == '`' ? "`\n" : "#\n"));
        }
    assert_true(commands >= 9);
}

/* The first indented block that begins with an input node. */
static void the_net_is_one(void **state) {
    (void)state;
    const char *from = strstr(page[0], "    x     = input");
    assert_non_null(from);
    const char *end = strstr(from, "\n\n");
    Error error = {0};
    Graph *graph = graph_parse(from, (size_t)(end - from), "README.md", &error);
    if (!graph) fail_msg("%s", error.message);
    assert_int_equal(graph_output(graph)->shape.dim[0], 10);
    graph_free(graph);
}

/* The program of docs/c_export.md, with the model that the page's commands left. */
static void the_c_example_runs(void **state) {
    (void)state;
    const char *from = strstr(page[C_EXPORT], "```c\n");
    assert_non_null(from);
    from += 5;
    file_put("main.c", from, (size_t)(strstr(from, "```") - from));
    file_put("image.bin", page[C_EXPORT], 28 * 28);
    const char *line = strstr(page[C_EXPORT], "    cc ");
    assert_non_null(line);
    assert_int_equal(shell("%.*s", (int)strcspn(line, "\n"), line), 0);
    assert_memory_equal(printed.out, "0: ", 3);
    assert_non_null(strstr(printed.out, "\n9: "));
}

/* The number behind `what`, in which commas may part thousands; *at moves behind it. */
static long number_behind(const char **at, const char *what) {
    const char *c = strstr(*at, what);
    if (!c) fail_msg("no \"%s\" in %s", what, *at);
    long number = 0;
    for (c += strlen(what); *c == ',' || (*c >= '0' && *c <= '9'); c++)
        if (*c != ',') number = 10 * number + *c - '0';
    *at = c;
    return number;
}

/* | mlp | 103,218 | 52,402 | 912 |: bytes of flash with 8 bits and with 4, and of RAM. They follow
 * from the net alone. */
static void the_sizes_are_true(void **state) {
    (void)state;
    int rows = 0;
    for (int i = 0; zoo_list[i].name; i++) {
        char begin[32];
        snprintf(begin, sizeof begin, "\n| %s | ", zoo_list[i].name);
        const char *row = strstr(page[C_EXPORT], begin);
        if (!row) continue; /* it has no integer program */
        long flash[2] = {number_behind(&row, begin), number_behind(&row, " | ")};
        long ram = number_behind(&row, " | ");
        must("train --model %s --epochs 0 --limit 64 -q -o size.st", zoo_list[i].name);
        for (int few_bits = 0; few_bits < 2; few_bits++, rows++) {
            int bits = few_bits ? 4 : 8;
            must("calibrate size.st --images 64 --bits %d --weight-bits %d -q -o c.st", bits, bits);
            must("freeze c.st -q -o f.st");
            must("export c f.st -o size.c");
            const char *said = printed.err;
            assert_int_equal(number_behind(&said, "flash: "), flash[few_bits]);
            assert_int_equal(number_behind(&said, "an arena of "), ram);
        }
    }
    assert_int_equal(rows, 2 * 4);
}

int main(void) {
    for (int i = 0; i < PAGES; i++) {
        page[i] = file_bytes(pages[i], NULL);
        if (!page[i]) return fprintf(stderr, "%s cannot be read\n", pages[i]), 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_runs),
        cmocka_unit_test(the_net_is_one),
        cmocka_unit_test(the_c_example_runs),
        cmocka_unit_test(the_sizes_are_true),
    };
    int failed = cmocka_run_group_tests(tests, program_setup, program_teardown);
    for (int i = 0; i < PAGES; i++) free(page[i]);
    return failed;
}
