/* The whole way of a model through the program: every command, every stage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zlib.h>

#include "tests/image_bytes.h"
#include "tests/program.h"
#include "tests/scratch.h"

/* 256 images train, 64 test; `many` has epochs long enough to be interrupted in. */
static int setup(void **state) {
    if (program_setup(state) != 0) return -1;
    write_nets();
    write_idx("data", 256, 64);
    write_idx("other", 128, 64);
    write_idx("many", 4096, 16);
    return 0;
}

/* ---- every command ---- */

/* Counts the CSV's rows whose label is the prediction; checks its form. */
static int csv_correct(const char *path, int images) {
    char *csv = file_bytes(path, NULL), *line = csv;
    assert_non_null(csv);
    const char *header = "index,label,predicted,logit0,logit1,logit2,logit3\n";
    assert_memory_equal(line, header, strlen(header));
    line += strlen(header);
    int correct = 0;
    for (int i = 0; i < images; i++, line = strchr(line, '\n') + 1) {
        int index, label, predicted, used = 0;
        float logit[IDX_CLASSES];
        assert_int_equal(sscanf(line, "%d,%d,%d,%f,%f,%f,%f%n", &index, &label, &predicted,
                                &logit[0], &logit[1], &logit[2], &logit[3], &used),
                         7);
        char again[256];
        snprintf(again, sizeof again, "%d,%d,%d,%.9g,%.9g,%.9g,%.9g\n", index, label, predicted,
                 (double)logit[0], (double)logit[1], (double)logit[2], (double)logit[3]);
        assert_memory_equal(line, again, strlen(again));
        assert_int_equal(index, i);
        for (int k = 0; k < IDX_CLASSES; k++) assert_true(logit[k] <= logit[predicted]);
        correct += label == predicted;
    }
    assert_int_equal(*line, '\0');
    free(csv);
    return correct;
}

/* Evaluates a file, with and without its CSV, and asserts what is promised of every stage. */
static void evaluates(const char *file, const char *stage, const char *engine, double least) {
    must("eval %s --data data --json --predictions %s.csv", file, file);
    assert_string_equal(printed.err, "");
    json_t *json = printed_json();
    assert_keys(json, "stage engine images correct accuracy images_per_second");
    assert_string_equal(member_text(json, "stage"), stage);
    assert_string_equal(member_text(json, "engine"), engine);
    assert_true(member_number(json, "images") == 64);
    char csv[64];
    snprintf(csv, sizeof csv, "%s.csv", file);
    assert_true(member_number(json, "correct") == csv_correct(csv, 64));
    assert_true(member_number(json, "accuracy") == member_number(json, "correct") / 64);
    if (member_number(json, "accuracy") < least) fail_msg("%s: %s", file, printed.out);
    json_decref(json);
    must("eval %s --data data --limit 10 --split train", file);
    assert_non_null(strstr(printed.out, "of 10 correct"));
}

static void inspects(const char *file, const char *stage) {
    must("inspect %s", file);
    assert_non_null(strstr(printed.out, stage));
    assert_non_null(strstr(printed.out, "conv1 = conv2d x out=4 kernel=3"));
    must("inspect %s --json", file);
    json_t *json = printed_json();
    assert_string_equal(member_text(json, "stage"), stage);
    bool quantized = strcmp(stage, "float") != 0;
    assert_int_equal(json_array_size(json_object_get(json, "activations")) > 0, quantized);
    json_decref(json);
}

/* All stages of a net, each evaluated, proved and shown. A net that separates four bright quarters
 * gets nearly all of them: 0.9 is far below that, and far above the 0.25 of guessing. */
static void goes_the_whole_way(const char *net) {
    must("train --model %s.net --data data --epochs 3 --batch 16 -o float.st", net);
    evaluates("float.st", "float", "float", 0.9);
    inspects("float.st", "float");
    must("calibrate float.st --data data -o calibrated.st");
    evaluates("calibrated.st", "calibrated", "fake-quant", 0.9);
    must_verify("calibrated.st");
    inspects("calibrated.st", "calibrated");
    must("finetune calibrated.st --data data --epochs 1.5 -o qat.st");
    evaluates("qat.st", "qat", "fake-quant", 0.9);
    must_verify("qat.st");
    inspects("qat.st", "qat");
    must("freeze qat.st -o frozen.st");
    evaluates("frozen.st", "frozen", "integer", 0.9);
    must_verify("frozen.st");
    inspects("frozen.st", "frozen");
    assert_true(same_bytes("qat.st.csv", "frozen.st.csv"));
    must("freeze qat.st -o again.st");
    assert_true(same_bytes("frozen.st", "again.st"));
    must("freeze frozen.st -o again.st");
    assert_true(same_bytes("frozen.st", "again.st"));
    assert_no_temporaries();
}

static void tiny_goes_the_whole_way(void **state) {
    (void)state;
    goes_the_whole_way("tiny");
}

static void residual_goes_the_whole_way(void **state) {
    (void)state;
    goes_the_whole_way("residual");
}

/* Every way to calibrate gives a file that freezes, and both engines agree on it. */
static void calibrates_in_every_way(void **state) {
    (void)state;
    static const char *const ways[] = {
        "--method minmax",
        "--method moving-average",
        "--bits 4 --weight-bits 4",
        "--bits 2",
        "--weight-bits 2",
        "--per-tensor",
        "--per-channel --images 100",
    };
    must("train --model residual.net --data data --epochs 2 --batch 16 -o ways.st");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        must("calibrate ways.st --data data %s -o way.st", ways[i]);
        must_verify("way.st");
        must("freeze way.st -o way8.st");
        must_verify("way8.st");
        evaluates("way.st", "calibrated", "fake-quant", 0);
        evaluates("way8.st", "frozen", "integer", 0);
        assert_true(same_bytes("way.st.csv", "way8.st.csv"));
    }
    must("calibrate ways.st --data data --images 100 -o way.st");
    assert_non_null(strstr(printed.err, "on 100 images"));
    must("calibrate ways.st --data data --images 100 --seed 5 -o way5.st");
    assert_false(same_bytes("way.st", "way5.st")); /* other images */
    must("calibrate ways.st --data data --images 100 --quiet -o way5.st");
    assert_string_equal(printed.err, "");
    assert_true(same_bytes("way.st", "way5.st"));
}

/* What is decided before the ranges are observed cannot be decided behind them. */
static void evens_out_channels_and_corrects_biases(void **state) {
    (void)state;
    must("train --model tiny.net --data data --epochs 2 -o ef.st");
    static const char *const ways[] = {"--equalize", "--bias-correction",
                                       "--equalize --bias-correction",
                                       "--adaround --adaround-steps 200"};
    must("calibrate ef.st --data data --bits 4 --weight-bits 4 -o e.st");
    refused(2, "--adaround contradicts --bias-correction",
            "calibrate ef.st --adaround --bias-correction -o x.st");
    refused(2, "says nothing without --adaround", "calibrate ef.st --adaround-steps 9 -o x.st");
    static const char *const steps[] = {"0", "-1", "1.5", "many", "1000001"};
    for (int i = 0; i < 5; i++)
        refused(2, "--adaround-steps takes a whole number from 1 to 1000000",
                "calibrate ef.st --adaround --adaround-steps=%s -o x.st", steps[i]);
    for (int i = 0; i < 4; i++) {
        for (int t = 1; t <= 2; t++)
            must("calibrate ef.st --data data --bits 4 --weight-bits 4 %s --threads %d -o e%d.st",
                 ways[i], t, t);
        assert_true(same_bytes("e1.st", "e2.st"));
        assert_false(same_bytes("e1.st", "e.st"));
        must_verify("e1.st");
        refused(2, "only its ranges can be chosen anew", "calibrate e1.st %s -o x.st", ways[i]);
    }
    must("finetune e1.st --data data --epochs 1 -o eq.st");
    must_verify("eq.st");
}

static void calibrates_by_a_file(void **state) {
    (void)state;
    must("train --model tiny.net --data data --epochs 1 -o by.st");
    file_text("config.json", "{\"activation\": {\"bits\": 4}, \"method\": \"minmax\",\n"
                             " \"weight\": {\"bits\": 3, \"per_channel\": false}}\n");
    must("calibrate by.st --data data --config config.json -o file.st");
    must("calibrate by.st --data data --bits 4 --weight-bits 3 --method minmax --per-tensor -o "
         "line.st");
    assert_true(same_bytes("file.st", "line.st"));
    must("calibrate by.st --data data --config config.json --bits 6 --per-channel -o file.st");
    must("calibrate by.st --data data --bits 6 --weight-bits 3 --method minmax -o line.st");
    assert_true(same_bytes("file.st", "line.st")); /* the command line goes before the file */

    file_text("config.json", "{\"activation\":\n {\"bits\": 4}");
    refused(3, "config.json:2:", "calibrate by.st --data data --config config.json -o no.st");
    file_text("config.json", "{\"weight\": {\"bits\": 17}}");
    refused(3, "config.json: quantization.weight: it.bits: expected 2 to 16 bits",
            "calibrate by.st --data data --config config.json -o no.st");
    refused(1, "missing.json: No such file", "calibrate by.st --config missing.json -o no.st");
    assert_false(file_exists("no.st"));
}

/* A picture of class `label`, as binary PGM. */
static void write_picture(const char *path, int label) {
    char picture[16 + IDX_SIDE * IDX_SIDE];
    int header = snprintf(picture, 16, "P5 12 12 255\n");
    for (int p = 0; p < IDX_SIDE * IDX_SIDE; p++) {
        int quarter = p / IDX_SIDE / (IDX_SIDE / 2) * 2 + p % IDX_SIDE / (IDX_SIDE / 2);
        picture[header + p] = (char)(quarter == label ? 220 : 30);
    }
    file_put(path, picture, (size_t)(header + IDX_SIDE * IDX_SIDE));
}

/* The PGM picture as an 8-bit grey PNG: each row behind a filter byte 0. */
static void write_png(const char *path, const char *pgm) {
    size_t size;
    char *picture = file_bytes(pgm, &size);
    Bytes png = {0}, rows = {0}, header = {0};
    bytes_add(&png, "\x89PNG\r\n\x1a\n", 8);
    bytes_u32(&header, IDX_SIDE);
    bytes_u32(&header, IDX_SIDE);
    bytes_add(&header, "\x08\0\0\0\0", 5); /* depth, colour type, three zeros */
    png_chunk(&png, "IHDR", header.data, header.count);
    const char *pixels = picture + size - IDX_SIDE * IDX_SIDE;
    for (int y = 0; y < IDX_SIDE; y++) {
        bytes_add(&rows, "", 1);
        bytes_add(&rows, pixels + y * IDX_SIDE, IDX_SIDE);
    }
    Bytes packed = bytes_zlib(&rows);
    png_chunk(&png, "IDAT", packed.data, packed.count);
    png_chunk(&png, "IEND", "", 0);
    file_put(path, png.data, png.count);
    free(picture);
}

static void predicts(void **state) {
    (void)state;
    must("train --model tiny.net --data data --epochs 3 --batch 16 -o p.st");
    must("calibrate p.st --data data -o pc.st");
    must("freeze pc.st -o p8.st");
    write_picture("one.pgm", 1);
    write_picture("two.pgm", 2);
    write_png("two.png", "two.pgm");
    static const char *const files[] = {"p.st", "pc.st", "p8.st"};
    for (int f = 0; f < 3; f++) {
        must("predict %s one.pgm two.png", files[f]);
        assert_memory_equal(printed.out, "one.pgm: 1 (", 12);
        assert_non_null(strstr(printed.out, "\ntwo.png: 2 ("));
        must("predict %s two.pgm one.pgm --json", files[f]);
        json_t *json = printed_json(), *images = json_object_get(json, "images");
        assert_keys(json, "stage engine images");
        assert_int_equal(json_array_size(images), 2);
        assert_keys(json_array_get(images, 0), "image predicted confidence logits preparation");
        assert_true(member_number(json_array_get(images, 0), "predicted") == 2);
        assert_true(member_number(json_array_get(images, 1), "predicted") == 1);
        json_decref(json);
    }
    refused(1, "none.pgm: No such file", "predict p.st none.pgm");
    refused(3, "p.st", "predict p.st p.st");
}

static void benches(void **state) {
    (void)state;
    must("train --model tiny.net --data data --epochs 1 -o b.st");
    /* both at once: each takes seconds by the clock, whatever it measures */
    assert_int_equal(
        shell("\"$STAIR\" bench infer b.st --batch 8 --threads 1 --json >infer.json & "
              "\"$STAIR\" bench train --model tiny.net --batch 8 --threads 2 --json && "
              "wait $!"),
        0);
    double work[2];
    for (int i = 0; i < 2; i++) {
        json_t *json = i == 0 ? printed_json() : json_load_file("infer.json", 0, NULL);
        assert_keys(json, "what batch threads images_per_second runs multiply_adds");
        work[i] = member_number(json, "multiply_adds");
        assert_string_equal(member_text(json, "what"), i == 0 ? "train" : "infer");
        assert_true(member_number(json, "batch") == 8 && member_number(json, "threads") == 2 - i);
        const json_t *runs = json_object_get(json, "runs");
        size_t below = 0, above = 0, count = json_array_size(runs);
        for (size_t k = 0; k < count; k++) {
            double rate = json_number_value(json_array_get(runs, k));
            below += rate <= member_number(json, "images_per_second");
            above += rate >= member_number(json, "images_per_second");
        }
        assert_true(count >= 3 && below > count / 2 && above > count / 2); /* the median */
        json_decref(json);
    }
    assert_true(work[0] > 2 * work[1] && work[0] < 3 * work[1]); /* the input has no gradient */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_goes_the_whole_way),
        cmocka_unit_test(residual_goes_the_whole_way),
        cmocka_unit_test(calibrates_in_every_way),
        cmocka_unit_test(evens_out_channels_and_corrects_biases),
        cmocka_unit_test(calibrates_by_a_file),
        cmocka_unit_test(predicts),
        cmocka_unit_test(benches),
    };
    return cmocka_run_group_tests(tests, setup, program_teardown);
}
