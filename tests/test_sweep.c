/* The table of accuracy over bit widths and seeds: `stair sweep`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/faint.h"
#include "train/sweep.h"

static const char sweep[] =
    "sweep float --data . --bits 8,2 --seeds 0,1,2 --finetune-epochs 2 --batch 16 --images 64"
    " -q --json -o sweep.json --csv sweep.csv";

static void test_table(void **state) {
    (void)state;
    must("%s", sweep);
    json_t *json = json_load_file("sweep.json", 0, NULL), *table = printed_json();
    const json_t *cells = json_object_get(json, "cells"), *rows = json_object_get(json, "rows");
    assert_int_equal(json_array_size(cells), 6);
    assert_int_equal(json_array_size(rows), 2);
    assert_true(member_number(json, "float") > 0.8); /* chance is a quarter */
    for (size_t r = 0; r < 2; r++) {
        const json_t *row = json_array_get(rows, r);
        static const char *const columns[] = {"calibrated", "finetuned"};
        for (int c = 0; c < 2; c++) { /* mean and deviation, by their definition */
            double sum = 0, squares = 0;
            for (size_t i = 0; i < 3; i++)
                sum += member_number(json_array_get(cells, 3 * r + i), columns[c]);
            for (size_t i = 0; i < 3; i++)
                squares +=
                    pow(member_number(json_array_get(cells, 3 * r + i), columns[c]) - sum / 3, 2);
            const json_t *spread = json_object_get(row, columns[c]);
            assert_int_equal((int)member_number(spread, "seeds"), 3);
            assert_true(fabs(member_number(spread, "mean") - sum / 3) <
                        1e-8); /* the file keeps nine digits */
            assert_true(fabs(member_number(spread, "deviation") - sqrt(squares / 2)) < 1e-8);
        }
    }
    const json_t *eight = json_array_get(rows, 0), *two = json_array_get(rows, 1);
    assert_true(fabs(member_number(json_object_get(eight, "calibrated"), "mean") -
                     member_number(json, "float")) < 0.03);
    assert_true(member_number(json_object_get(two, "calibrated"), "mean") <
                member_number(json_object_get(eight, "calibrated"), "mean"));
    assert_true(json_equal(json_object_get(table, "cells"), cells));
    json_decref(json);
    json_decref(table);

    char *csv = file_bytes("sweep.csv", NULL);
    assert_memory_equal(csv, "bits,weight_bits,seed,calibrated,finetuned\n8,8,0,", 49);
    int lines = 0;
    for (const char *c = csv; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, 7);
    free(csv);
}

/* A table with cells missing, whichever, is completed to the same bytes; one of another question is
 * left alone. */
static void test_resume(void **state) {
    (void)state;
    assert_int_equal(shell("cp sweep.json whole.json"), 0);
    json_t *json = json_load_file("sweep.json", 0, NULL);
    json_t *cells = json_object_get(json, "cells");
    json_array_remove(cells, 5);
    json_array_remove(cells, 4);
    assert_int_equal(json_dump_file(json, "sweep.json", JSON_REAL_PRECISION(9)), 0);
    /* a cell that is there is not computed again */
    json_object_set_new(json_array_get(cells, 0), "calibrated", json_real(0.125));
    assert_int_equal(json_dump_file(json, "marked.json", JSON_REAL_PRECISION(9)), 0);
    json_decref(json);
    must("%s", sweep);
    assert_true(same_bytes("sweep.json", "whole.json"));
    must("sweep float --data . --bits 8 --seeds 0 --finetune-epochs 2 --batch 16 --images 64 -q"
         " -o marked.json");
    json = json_load_file("marked.json", 0, NULL);
    assert_true(member_number(json_array_get(json_object_get(json, "cells"), 0), "calibrated") ==
                0.125);
    json_decref(json);

    static const char *const other[] = {
        "sweep float --data . --bits 8 --finetune-epochs 1 --batch 16 --images 64 -q -o "
        "sweep.json",
        "sweep float --data . --bits 8 --finetune-epochs 2 --batch 16 --images 65 -q -o "
        "sweep.json",
        "sweep float --data . --bits 8 --finetune-epochs 2 --batch 16 --images 64 -q --method mse "
        "-o sweep.json",
    };
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        refused(2, "sweep.json: it is of another sweep", "%s", other[i]);
    assert_true(same_bytes("sweep.json", "whole.json"));
}

static void test_bad_tables(void **state) {
    (void)state;
    static const char *const texts[] = {"", "{", "{}", "{\"cells\": 3}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        file_text("bad.json", texts[i]);
        int status = stair("sweep float --data . --bits 8 --finetune-epochs 0 -q -o bad.json");
        assert_true(status == ERROR_INPUT || status == ERROR_USAGE);
        char *kept = file_bytes("bad.json", NULL);
        assert_string_equal(kept, texts[i]); /* what is no table is not overwritten */
        free(kept);
    }
}

/* Without fine-tuning there is no such column, and lists of both bits make pairs. */
static void test_pairs(void **state) {
    (void)state;
    must("sweep float --data . --bits 8..7 --weight-bits 8,3 --finetune-epochs 0 -q --json");
    json_t *json = printed_json();
    const json_t *rows = json_object_get(json, "rows");
    assert_int_equal(json_array_size(rows), 4);
    assert_int_equal((int)member_number(json_array_get(rows, 3), "bits"), 7);
    assert_int_equal((int)member_number(json_array_get(rows, 3), "weight_bits"), 3);
    assert_true(json_is_null(json_object_get(json_array_get(rows, 0), "finetuned")));
    json_decref(json);
    refused(2, "--bits takes", "sweep float --data . --bits 8,8 -q");
    refused(2, "--bits takes", "sweep float --data . --bits 1..3 -q");
    refused(2, "--bits takes", "calibrate float --data . --bits 8,4 -q -o x");
    must("calibrate float --data . --bits 6 -q -o six");
    refused(3, "a sweep begins with a float one", "sweep six --data . -q");
}

static void test_spread(void **state) {
    (void)state;
    SweepCell cells[] = {
        {4, 4, 0, 0.5, NAN}, {4, 4, 1, 0.75, 0.5}, {4, 4, 2, 1.0, NAN}, {4, 3, 0, 0.1, NAN}};
    Sweep one = {.cells = 4, .cell = cells};
    Spread s = sweep_spread(&one, 4, 4, false);
    assert_true(s.count == 3 && s.mean == 0.75 && fabs(s.deviation - 0.25) < 1e-15 &&
                s.least == 0.5 && s.most == 1);
    s = sweep_spread(&one, 4, 4, true);
    assert_true(s.count == 1 && s.mean == 0.5 && s.deviation == 0);
    assert_int_equal(sweep_spread(&one, 3, 3, false).count, 0);
    assert_ptr_equal(sweep_find(&one, 4, 3, 0), &cells[3]);
    assert_null(sweep_find(&one, 4, 3, 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),      cmocka_unit_test(test_resume),
        cmocka_unit_test(test_bad_tables), cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_spread),
    };
    return cmocka_run_group_tests(tests, faint_setup, program_teardown);
}
