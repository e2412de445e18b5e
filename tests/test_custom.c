/* Layers of one's own: a program with two layers that the library does not have (tests/custom/)
 * does with them all that stair does, and docs/custom_layers.md shows their code as it stands. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/program.h"

/* The page and the files that it quotes, read before the tests move to a folder of their own. */
static const char *const sources[] = {"tests/custom/own.net",  "tests/custom/silu.c",
                                      "tests/custom/scale.c",  "tests/custom/layers.def",
                                      "tests/custom/layers.c", "Makefile"};
enum { SOURCES = sizeof sources / sizeof *sources };
static char *source[SOURCES], *page;

/* $STAIR becomes the program with these layers, which lies beside: tests/custom/stair. */
static int setup(void **state) {
    char path[PATH_MAX];
    const char *plain = getenv("STAIR");
    const char *slash = plain ? strrchr(plain, '/') : NULL;
    snprintf(path, sizeof path, "%.*s/tests/custom/stair", slash ? (int)(slash - plain) : 5,
             slash ? plain : "build");
    if (setenv("STAIR", path, 1) != 0 || program_setup(state) != 0) return -1;
    write_idx("data", 256, 64);
    file_text("own.net", source[0]);
    return 0;
}

/* --- tests --- */

/* From random weights to integers, at 8 bits and at 4, code for code. */
static void own_layers_go_the_whole_way(void **state) {
    (void)state;
    must("train --model own.net --data data --epochs 4 --lr 0.05 -o f.st -q");
    assert_true(accuracy_of("f.st") > 0.9);
    static const char *const ways[] = {"", "--bits 4 --weight-bits 4", "--per-tensor --method mse",
                                       "--config affine.json"};
    file_text("affine.json", "{\"preset\": \"seed-per-tensor-affine\"}");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        must("calibrate f.st --data data %s -o c.st -q", ways[i]);
        must_verify("c.st");
        must("finetune c.st --data data --epochs 1 --lr 0.01 -o q.st -q");
        must_verify("q.st");
        must("freeze q.st -o i.st -q");
        must_verify("i.st");
        assert_true(accuracy_of("i.st") > 0.9);
    }
}

/* A layer that has only an input is a table of codes; one that has a weight too has a quantizer for
 * it, and takes part in all that weighted layers do: batchnorm and relu join it. */
static void each_is_quantized_by_its_rule(void **state) {
    (void)state;
    must("train --model own.net --data data --epochs 1 -o f.st -q");
    must("calibrate f.st --data data -o c.st -q");
    must("inspect c.st");
    assert_non_null(strstr(printed.out, "scale1       weight     8bit signed symmetric axis=(0)"));
    assert_non_null(strstr(printed.out, "act1         activation 8bit unsigned affine"));
    const char *program = strstr(printed.out, "\nprogram: ");
    assert_non_null(program);
    assert_true(strstr(program, " lookup ") && strstr(program, " scale "));
    const char *bn1 = strstr(printed.out, "\nbn1 "), *relu1 = strstr(printed.out, "\nrelu1 ");
    assert_true(strstr(bn1, "in scale1") && strstr(relu1, "in scale1"));
}

/* The getters of the recipes: one layer's quantization off, or its bits its own. */
static void each_can_be_switched_and_configured(void **state) {
    (void)state;
    must("train --model own.net --data data --epochs 1 -o f.st -q");
    must("calibrate f.st --data data -o c.st -q");
    must("eval c.st --data data --disable-quant act1,scale1");
    file_text("words.json", "{\"layers\": {\"scale\": {\"weight\": {\"bits\": 4}}}, "
                            "\"overrides\": {\"act1\": {\"activation\": {\"bits\": 6}}}}");
    must("calibrate f.st --data data --config words.json -o w.st -q");
    must_verify("w.st");
    must("inspect w.st");
    assert_non_null(strstr(printed.out, "scale1       weight     4bit"));
    assert_non_null(strstr(printed.out, "act1         activation 6bit"));
    file_text("words.json", "{\"layers\": {\"silu\": {\"weight\": {\"bits\": 4}}}}");
    refused(3, "act1: silu layers have no weights",
            "calibrate f.st --data data --config words.json "
            "-o w.st -q");
}

/* Every block of code of the page stands in one of the files that it is about. */
static void the_page_shows_the_code(void **state) {
    (void)state;
    int blocks = 0;
    for (const char *c = page; (c = strstr(c, "\n```")) != NULL;) {
        const char *from = strchr(c + 1, '\n') + 1, *end = strstr(from, "```\n");
        assert_non_null(end);
        char *block = strndup(from, (size_t)(end - from));
        bool found = false;
        for (int i = 0; i < SOURCES; i++) found |= strstr(source[i], block) != NULL;
        if (!found) fail_msg("docs/custom_layers.md shows what is in no source:\n%s", block);
        free(block);
        c = end;
        blocks++;
    }
    assert_true(blocks >= 6);
}

int main(void) {
    page = file_bytes("docs/custom_layers.md", NULL);
    bool read = page != NULL;
    for (int i = 0; i < SOURCES; i++) read &= (source[i] = file_bytes(sources[i], NULL)) != NULL;
    if (!read) return fprintf(stderr, "the page or a file that it quotes cannot be read\n"), 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_layers_go_the_whole_way),
        cmocka_unit_test(each_is_quantized_by_its_rule),
        cmocka_unit_test(each_can_be_switched_and_configured),
        cmocka_unit_test(the_page_shows_the_code),
    };
    int failed = cmocka_run_group_tests(tests, setup, program_teardown);
    for (int i = 0; i < SOURCES; i++) free(source[i]);
    free(page);
    return failed;
}
