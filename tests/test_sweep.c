/* The tables: sweep over bit widths and seeds, sensitivity, and the search for mixed precision, on
 * a net of a second's training: the class of an image is its bright quadrant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "autograd/rng.h"
#include "tests/scratch.h"
#include "train/command.h"
#include "train/mixed.h"
#include "train/sweep.h"

enum { SIDE = 6, IMAGE = SIDE * SIDE, TRAIN = 200, TEST = 120, WORDS = 24 };

static void write_split(const char *images_name, const char *labels_name, int count,
                        uint64_t seed) {
    static Bytes images, labels;
    Rng rng = rng_stream(seed, RNG_TEST, 0);
    images.count = labels.count = 0;
    bytes_u32(&images, 0x0803);
    bytes_u32(&images, (uint32_t)count);
    bytes_u32(&images, SIDE);
    bytes_u32(&images, SIDE);
    bytes_u32(&labels, 0x0801);
    bytes_u32(&labels, (uint32_t)count);
    for (int n = 0; n < count; n++) {
        uint8_t label = (uint8_t)rng_below(&rng, 4), pixel[IMAGE];
        for (int i = 0; i < IMAGE; i++) {
            int quadrant = (i / SIDE >= SIDE / 2) * 2 + (i % SIDE >= SIDE / 2);
            pixel[i] = (uint8_t)(rng_below(&rng, 150) + (quadrant == label ? 50 : 0));
        }
        bytes_add(&images, pixel, IMAGE);
        bytes_add(&labels, &label, 1);
    }
    scratch_write(images_name, &images);
    scratch_write(labels_name, &labels);
}

/* Runs a command line, words parted by blanks, '@' before the names of files in the scratch folder.
 * What it prints goes to the file "out". */
static int stair(const char *text) {
    static char copy[1024];
    char *word[WORDS], *rest = copy;
    static char names[WORDS][512];
    int count = 0;
    snprintf(copy, sizeof copy, "%s", text);
    for (char *w; (w = strsep(&rest, " "));) {
        assert_true(count < WORDS);
        if (*w == '@') w = strcpy(names[count], scratch_path(w + 1));
        word[count++] = w;
    }
    fflush(NULL);
    pid_t child = fork(); /* the program starts its threads once in a process */
    if (child == 0) {
        int out = open(scratch_path("out"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(out, STDOUT_FILENO);
        int status = command_line(count, word);
        fflush(NULL);
        _exit(status);
    }
    int status = 0;
    assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int setup(void **state) {
    if (scratch_make(state) != 0) return -1;
    write_split("train-images-idx3-ubyte", "train-labels-idx1-ubyte", TRAIN, 1);
    write_split("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", TEST, 2);
    scratch_text("tiny.net",
                 "x = input shape=1x6x6\nc1 = conv2d x out=6 kernel=3\nr1 = relu c1\n"
                 "f = flatten r1\nh = linear f out=12\nr2 = relu h\nfc = linear r2 out=10\n");
    return stair("train --model @tiny.net --data @ --epochs 12 --batch 16 --lr 0.05 -q -o @float")
               ? -1
               : 0;
}

static void read_text(const char *name, char *text, size_t size) {
    FILE *file = fopen(scratch_path(name), "rb");
    assert_non_null(file);
    text[fread(text, 1, size - 1, file)] = 0;
    fclose(file);
}

static json_t *read_json(const char *name) {
    json_t *json = json_load_file(scratch_path(name), 0, NULL);
    assert_non_null(json);
    return json;
}

/* --- sweep --- */

static const char sweep[] =
    "sweep @float --data @ --bits 8,2 --seeds 0,1,2 --finetune-epochs 2 --batch 16 --images 64"
    " -q --json -o @sweep.json --csv @sweep.csv";

static double member(const json_t *json, const char *name) {
    return json_number_value(json_object_get(json, name));
}

static void test_table(void **state) {
    (void)state;
    assert_int_equal(stair(sweep), 0);
    json_t *json = read_json("sweep.json"), *printed = read_json("out");
    const json_t *cells = json_object_get(json, "cells"), *rows = json_object_get(json, "rows");
    assert_int_equal(json_array_size(cells), 6);
    assert_int_equal(json_array_size(rows), 2);
    assert_true(member(json, "float") > 0.8); /* chance is a quarter */
    for (size_t r = 0; r < 2; r++) {
        const json_t *row = json_array_get(rows, r);
        static const char *const columns[] = {"calibrated", "finetuned"};
        for (int c = 0; c < 2; c++) { /* mean and deviation, by their definition */
            double sum = 0, squares = 0;
            for (size_t i = 0; i < 3; i++)
                sum += member(json_array_get(cells, 3 * r + i), columns[c]);
            for (size_t i = 0; i < 3; i++)
                squares += pow(member(json_array_get(cells, 3 * r + i), columns[c]) - sum / 3, 2);
            const json_t *spread = json_object_get(row, columns[c]);
            assert_int_equal((int)member(spread, "seeds"), 3);
            assert_true(fabs(member(spread, "mean") - sum / 3) <
                        1e-8); /* the file keeps nine digits */
            assert_true(fabs(member(spread, "deviation") - sqrt(squares / 2)) < 1e-8);
        }
    }
    const json_t *eight = json_array_get(rows, 0), *two = json_array_get(rows, 1);
    assert_true(fabs(member(json_object_get(eight, "calibrated"), "mean") - member(json, "float")) <
                0.03);
    assert_true(member(json_object_get(two, "calibrated"), "mean") <
                member(json_object_get(eight, "calibrated"), "mean"));
    assert_true(json_equal(json_object_get(printed, "cells"), cells));
    json_decref(json);
    json_decref(printed);

    char csv[2000];
    read_text("sweep.csv", csv, sizeof csv);
    assert_memory_equal(csv, "bits,weight_bits,seed,calibrated,finetuned\n8,8,0,", 49);
    int lines = 0;
    for (const char *c = csv; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, 7);
}

/* A table with cells missing, whichever, is completed to the same bytes; one of another question is
 * left alone. */
static void test_resume(void **state) {
    (void)state;
    static char whole[20000], again[20000];
    read_text("sweep.json", whole, sizeof whole);
    json_t *json = read_json("sweep.json");
    json_t *cells = json_object_get(json, "cells");
    json_array_remove(cells, 5);
    json_array_remove(cells, 4);
    assert_int_equal(json_dump_file(json, scratch_path("sweep.json"), JSON_REAL_PRECISION(9)), 0);
    /* a cell that is there is not computed again */
    json_object_set_new(json_array_get(cells, 0), "calibrated", json_real(0.125));
    assert_int_equal(json_dump_file(json, scratch_path("marked.json"), JSON_REAL_PRECISION(9)), 0);
    json_decref(json);
    assert_int_equal(stair(sweep), 0);
    read_text("sweep.json", again, sizeof again);
    assert_string_equal(whole, again);
    assert_int_equal(
        stair(
            "sweep @float --data @ --bits 8 --seeds 0 --finetune-epochs 2 --batch 16 --images 64 -q"
            " -o @marked.json"),
        0);
    json = read_json("marked.json");
    assert_true(member(json_array_get(json_object_get(json, "cells"), 0), "calibrated") == 0.125);
    json_decref(json);

    static const char *const other[] = {
        "sweep @float --data @ --bits 8 --finetune-epochs 1 --batch 16 --images 64 -q -o "
        "@sweep.json",
        "sweep @float --data @ --bits 8 --finetune-epochs 2 --batch 16 --images 65 -q -o "
        "@sweep.json",
        "sweep @float --data @ --bits 8 --finetune-epochs 2 --batch 16 --images 64 -q --method mse "
        "-o @sweep.json",
    };
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        assert_int_equal(stair(other[i]), ERROR_USAGE);
    read_text("sweep.json", again, sizeof again);
    assert_string_equal(whole, again);
}

static void test_bad_tables(void **state) {
    (void)state;
    static const char *const texts[] = {"", "{", "{}", "{\"cells\": 3}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char kept[64];
        scratch_text("bad.json", texts[i]);
        int status = stair("sweep @float --data @ --bits 8 --finetune-epochs 0 -q -o @bad.json");
        assert_true(status == ERROR_INPUT || status == ERROR_USAGE);
        read_text("bad.json", kept, sizeof kept);
        assert_string_equal(kept, texts[i]); /* what it is not the tables' own is not overwritten */
    }
}

/* Without fine-tuning there is no such column, and lists of both bits make pairs. */
static void test_pairs(void **state) {
    (void)state;
    assert_int_equal(
        stair("sweep @float --data @ --bits 8..7 --weight-bits 8,3 --finetune-epochs 0 -q --json"),
        0);
    json_t *json = read_json("out");
    const json_t *rows = json_object_get(json, "rows");
    assert_int_equal(json_array_size(rows), 4);
    assert_int_equal((int)member(json_array_get(rows, 3), "bits"), 7);
    assert_int_equal((int)member(json_array_get(rows, 3), "weight_bits"), 3);
    assert_true(json_is_null(json_object_get(json_array_get(rows, 0), "finetuned")));
    json_decref(json);
    assert_int_equal(stair("sweep @float --data @ --bits 8,8 -q"), ERROR_USAGE);
    assert_int_equal(stair("sweep @float --data @ --bits 1..3 -q"), ERROR_USAGE);
    assert_int_equal(stair("calibrate @float --data @ --bits 8,4 -q -o @x"), ERROR_USAGE);
    assert_int_equal(stair("calibrate @float --data @ --bits 6 -q -o @six"), 0);
    assert_int_equal(stair("sweep @six --data @ -q"), ERROR_INPUT); /* begins with a float one */
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

/* --- sensitivity --- */

static void test_measures(void **state) {
    (void)state;
    assert_int_equal(stair("calibrate @float --data @ --weight-bits 8 --images 64 -q -o @cal"), 0);
    Error error = {0};
    Model *model = model_load(scratch_path("cal"), &error);
    Dataset *data = dataset_open(scratch_path(""), false, 0, &error);
    static MixedStudy study;
    assert_true(mixed_start(&study, model, data, 32, 0, 0, &error));
    assert_int_equal(study.layers, 4); /* x c1 h fc: the others pass on or are absorbed */
    assert_true(mixed_measure(&study, NULL, &error));
    double eight[4];
    for (int i = 0; i < 4; i++) {
        eight[i] = study.layer[i].only_sqnr;
        assert_true(study.layer[i].only_sqnr >
                    study.all_sqnr); /* one error is less than all of them */
        assert_true(study.layer[i].but_sqnr > study.all_sqnr - 1); /* errors may cancel a little */
    }
    /* 4 bits: 4 times 6.02 dB less for the layers that have them, within what clamping and chance
     * do */
    assert_true(mixed_start(&study, model, data, 32, 4, 4, &error));
    assert_true(mixed_measure(&study, NULL, &error));
    for (int i = 1; i < 3; i++) assert_true(fabs(eight[i] - study.layer[i].only_sqnr - 24.1) < 6);
    assert_int_equal(study.layer[0].bits, 8); /* edges keep theirs */
    assert_int_equal(study.layer[3].bits, 8);
    assert_int_equal(study.layer[3].weight_bits, 4);
    /* each output's weights fill whole bytes: 9 of 4 bits take 5 */
    assert_int_equal(mixed_bytes(&study), 6 * 5 + 12 * 48 + 10 * 6);
    dataset_free(data);
    model_free(model);
}

/* The search ends within its budget, and its file calibrates to the very net that was measured. */
static void test_search(void **state) {
    (void)state;
    assert_int_equal(stair("sensitivity @float --data @ --split test --images 64 --bits 2 "
                           "--weight-bits 2 --drop 0.02 -q"
                           " --json --write-config @mixed.json"),
                     0);
    json_t *table = read_json("out");
    assert_int_equal(json_array_size(json_object_get(table, "layers")), 4);
    double accuracy = member(table, "float");
    assert_true(member(json_object_get(table, "all"), "accuracy") <
                accuracy - 0.02); /* there is something to do */
    assert_int_equal(
        stair("calibrate @float --data @ --images 64 --config @mixed.json -q -o @mixed"), 0);
    assert_int_equal(stair("eval @mixed --data @ --json"), 0);
    json_t *result = read_json("out");
    assert_true(member(result, "accuracy") >= accuracy - 0.02);
    assert_int_equal(stair("freeze @mixed -q -o @frozen"), 0);
    json_decref(result);
    json_decref(table);

    /* a budget of bytes: 4 bits for all weights would be 663, 2 bits are 332 */
    assert_int_equal(
        stair(
            "sensitivity @float --data @ --images 64 --bits 2 --weight-bits 2 --size 600 -q --json"
            " --write-config @small.json"),
        0);
    json_t *config = read_json("small.json");
    int64_t bytes = 0;
    static const struct {
        const char *name;
        int weights;
    } layers[] = {{"c1", 54}, {"h", 1152}, {"fc", 120}};
    for (int i = 0; i < 3; i++) {
        const json_t *layer = json_object_get(json_object_get(config, "overrides"), layers[i].name);
        int bits = (int)member(json_object_get(layer, "weight"), "bits");
        assert_in_range(bits, 2, 8);
        bytes += (layers[i].weights * bits + 7) / 8;
    }
    assert_in_range(bytes, 332 + 1, 600); /* something was given, within the budget */
    json_decref(config);
    assert_int_equal(
        stair("sensitivity @float --data @ --images 64 --weight-bits 4 --size 100 -q --json"
              " --write-config @none.json"),
        ERROR_INPUT);
    assert_int_equal(stair("sensitivity @frozen --data @ -q"), ERROR_INPUT);
    assert_int_equal(stair("sensitivity @mixed --data @ --method mse -q"), ERROR_USAGE);
}

static void test_disable_quant(void **state) {
    (void)state;
    assert_int_equal(
        stair("calibrate @float --data @ --weight-bits 2 --bits 2 --images 64 -q -o @two"), 0);
    assert_int_equal(stair("eval @two --data @ --json"), 0);
    json_t *two = read_json("out");
    assert_int_equal(stair("eval @two --data @ --json --disable-quant x,c1,h,fc"), 0);
    json_t *none = read_json("out");
    assert_int_equal(stair("eval @float --data @ --json"), 0);
    json_t *real = read_json("out");
    assert_true(member(none, "accuracy") ==
                member(real, "accuracy")); /* nothing is rounded: the float net */
    assert_true(member(two, "accuracy") < member(none, "accuracy"));
    assert_int_equal(stair("eval @two --data @ --disable-quant c2"), ERROR_USAGE);
    assert_int_equal(stair("eval @two --data @ --disable-quant r1"), ERROR_USAGE);
    assert_int_equal(stair("eval @float --data @ --disable-quant c1"), ERROR_INPUT);
    json_decref(two);
    json_decref(none);
    json_decref(real);
}

/* A net with a float layer is calibrated, fine-tuned and evaluated; freezing and verifying it are
 * refused. */
static void test_float_layer_all_the_way(void **state) {
    (void)state;
    scratch_text(
        "float.json",
        "{\"weight\": {\"bits\": 4, \"symmetric\": false}, \"overrides\": {\"fc\": null}}");
    assert_int_equal(
        stair("calibrate @float --data @ --config @float.json --images 64 -q -o @part"), 0);
    assert_int_equal(stair("finetune @part --data @ --epochs 1 --batch 16 -q -o @part.qat"), 0);
    assert_int_equal(stair("eval @part.qat --data @ --json"), 0);
    json_t *json = read_json("out");
    assert_true(member(json, "accuracy") > 0.8);
    json_decref(json);
    assert_int_equal(stair("inspect @part.qat"), 0);
    char text[8000];
    read_text("out", text, sizeof text);
    assert_non_null(strstr(text, "no program: fc stays float"));
    assert_int_equal(stair("freeze @part.qat -q -o @nothing"), ERROR_INPUT);
    assert_int_equal(access(scratch_path("nothing"), F_OK), -1);
    assert_int_equal(stair("verify @part.qat --data @"), ERROR_INPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),         cmocka_unit_test(test_resume),
        cmocka_unit_test(test_bad_tables),    cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_spread),        cmocka_unit_test(test_search),
        cmocka_unit_test(test_disable_quant), cmocka_unit_test(test_float_layer_all_the_way),
        cmocka_unit_test(test_measures), /* last: it starts this process's threads, which children
                                            would miss */
    };
    return cmocka_run_group_tests(tests, setup, scratch_remove);
}
