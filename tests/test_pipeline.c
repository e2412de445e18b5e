/* The whole way of a model through the program: every command, every stage, and the promises about
 * bytes: the same at any thread count, after any interruption, from any engine. */
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

static double number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static const char *text(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_string(value));
    return json_string_value(value);
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
    assert_string_equal(text(json, "stage"), stage);
    assert_string_equal(text(json, "engine"), engine);
    assert_true(number(json, "images") == 64);
    char csv[64];
    snprintf(csv, sizeof csv, "%s.csv", file);
    assert_true(number(json, "correct") == csv_correct(csv, 64));
    assert_true(number(json, "accuracy") == number(json, "correct") / 64);
    if (number(json, "accuracy") < least) fail_msg("%s: %s", file, printed.out);
    json_decref(json);
    must("eval %s --data data --limit 10 --split train", file);
    assert_non_null(strstr(printed.out, "of 10 correct"));
}

static void verifies(const char *file) {
    must("verify %s --data data --json", file);
    json_t *json = printed_json(), *layer;
    assert_keys(json, "images codes mismatched_codes max_difference argmax_differs layers");
    assert_true(number(json, "images") == 64 && number(json, "mismatched_codes") == 0);
    assert_true(number(json, "max_difference") == 0 && number(json, "argmax_differs") == 0);
    double codes = 0;
    size_t i;
    json_array_foreach(json_object_get(json, "layers"), i, layer) {
        assert_keys(layer, "name codes mismatched_codes max_difference");
        codes += number(layer, "codes");
    }
    assert_true(codes > 0 && codes == number(json, "codes"));
    json_decref(json);
    must("verify %s --data data --limit 3", file);
    assert_non_null(strstr(printed.out, "predictions that differ: 0 of 3"));
}

static void inspects(const char *file, const char *stage) {
    must("inspect %s", file);
    assert_non_null(strstr(printed.out, stage));
    assert_non_null(strstr(printed.out, "conv1 = conv2d x out=4 kernel=3"));
    must("inspect %s --json", file);
    json_t *json = printed_json();
    assert_string_equal(text(json, "stage"), stage);
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
    verifies("calibrated.st");
    inspects("calibrated.st", "calibrated");
    must("finetune calibrated.st --data data --epochs 1.5 -o qat.st");
    evaluates("qat.st", "qat", "fake-quant", 0.9);
    verifies("qat.st");
    inspects("qat.st", "qat");
    must("freeze qat.st -o frozen.st");
    evaluates("frozen.st", "frozen", "integer", 0.9);
    verifies("frozen.st");
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
        verifies("way.st");
        must("freeze way.st -o way8.st");
        verifies("way8.st");
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
    file_text("config.json", "{\"weight\": {\"bits\": 9}}");
    refused(3, "config.json: quantization.weight: it.bits: expected 2 to 8 bits",
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

static void add_chunk(Bytes *png, const char *type, const void *data, size_t count) {
    bytes_u32(png, (uint32_t)count);
    size_t begin = png->count;
    bytes_text(png, type);
    bytes_add(png, data, count);
    bytes_u32(png, (uint32_t)crc32(0, png->data + begin, (uInt)(png->count - begin)));
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
    add_chunk(&png, "IHDR", header.data, header.count);
    const char *pixels = picture + size - IDX_SIDE * IDX_SIDE;
    for (int y = 0; y < IDX_SIDE; y++) {
        bytes_add(&rows, "", 1);
        bytes_add(&rows, pixels + y * IDX_SIDE, IDX_SIDE);
    }
    Bytes packed = bytes_zlib(&rows);
    add_chunk(&png, "IDAT", packed.data, packed.count);
    add_chunk(&png, "IEND", "", 0);
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
        assert_true(number(json_array_get(images, 0), "predicted") == 2);
        assert_true(number(json_array_get(images, 1), "predicted") == 1);
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
    for (int i = 0; i < 2; i++) {
        json_t *json = i == 0 ? printed_json() : json_load_file("infer.json", 0, NULL);
        assert_keys(json, "what batch threads images_per_second runs");
        assert_string_equal(text(json, "what"), i == 0 ? "train" : "infer");
        assert_true(number(json, "batch") == 8 && number(json, "threads") == 2 - i);
        const json_t *runs = json_object_get(json, "runs");
        size_t below = 0, above = 0, count = json_array_size(runs);
        for (size_t k = 0; k < count; k++) {
            double rate = json_number_value(json_array_get(runs, k));
            below += rate <= number(json, "images_per_second");
            above += rate >= number(json, "images_per_second");
        }
        assert_true(count >= 3 && below > count / 2 && above > count / 2); /* the median */
        json_decref(json);
    }
}

/* ---- the same bytes ---- */

static void threads_change_no_byte(void **state) {
    (void)state;
    const char *train = "train --model residual.net --data data --epochs 2 --batch 24";
    for (int t = 1; t <= 3; t++) {
        must("%s --threads %d -o t%d.st", train, t, t);
        must("calibrate t1.st --data data --threads %d -o tc%d.st", t, t);
        must("finetune tc1.st --data data --epochs 2 --threads %d -o tq%d.st", t, t);
        must("eval tq1.st --data data --threads %d --predictions t%d.csv", t, t);
        char name[4][16];
        static const char *const forms[] = {"t%d.st", "tc%d.st", "tq%d.st", "t%d.csv"};
        for (int i = 0; i < 4; i++) {
            snprintf(name[0], sizeof name[0], forms[i], 1);
            snprintf(name[1], sizeof name[1], forms[i], t);
            assert_true(same_bytes(name[0], name[1]));
        }
    }
    must("%s --seed 1 -o seed.st", train);
    assert_false(same_bytes("t1.st", "seed.st"));
    must("%s --seed 1 -o seed1.st", train);
    assert_true(same_bytes("seed.st", "seed1.st"));
    must("train --model ./../$(basename \"$PWD\")/residual.net --data data --epochs 2 --batch 24 "
         "-o where.st"); /* where the net's text lies is not in the file */
    assert_true(same_bytes("t1.st", "where.st"));
}

/* Is the file's run in the middle of an epoch? */
static bool amid_epoch(const char *file) {
    must("inspect %s --json", file);
    json_t *json = printed_json();
    bool amid = number(json_object_get(json, "training"), "seen") > 0;
    json_decref(json);
    return amid;
}

/* Runs `command`, and sends the signal once an epoch has been saved in `file`. The exit status. */
static int interrupt(const char *command, const char *file, int number_of_signal) {
    struct stat before = {0}, now;
    stat(file, &before);
    pid_t pid = stair_start("%s", command);
    siginfo_t ended = {0};
    while (stat(file, &now) != 0 || now.st_ino == before.st_ino) {
        assert_int_equal(waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT), 0);
        if (ended.si_pid) break;
        usleep(200);
    }
    usleep(2000); /* a step or more into the next one */
    kill(pid, number_of_signal);
    return stair_finish(pid);
}

/* Interrupts `command`, then its resumption, until the run is complete; returns how often it was
 * caught amid an epoch. */
static int run_in_parts(const char *command, const char *kind, const char *file,
                        int number_of_signal) {
    char resume[128];
    int amid = 0;
    unlink(file);
    int status = interrupt(command, file, number_of_signal);
    snprintf(resume, sizeof resume, "%s --resume %s --log parts.jsonl", kind, file);
    for (int part = 0; status == 128 + number_of_signal && part < 20; part++) {
        char hint[160];
        snprintf(hint, sizeof hint, "to go on: stair %s --resume %s\n", kind, file);
        assert_non_null(strstr(printed.err, hint));
        amid += amid_epoch(file);
        status = interrupt(resume, file, number_of_signal);
    }
    if (status) fail_msg("%s ended with %d: %s", command, status, printed.err);
    return amid;
}

/* The machine may be too busy to catch an epoch's middle: then once more. */
static void interruptions_change_no_byte(const char *command, const char *kind,
                                         int number_of_signal) {
    char whole[256], parts[256];
    snprintf(whole, sizeof whole, "%s -o whole.st", command);
    must("%s", whole);
    snprintf(parts, sizeof parts, "%s -o parts.st --log parts.jsonl", command);
    int amid = 0;
    for (int trial = 0; amid == 0 && trial < 10; trial++) {
        amid = run_in_parts(parts, kind, "parts.st", number_of_signal);
        assert_true(same_bytes("whole.st", "parts.st"));
    }
    assert_true(amid > 0);
    assert_no_temporaries();
    char *log = file_bytes("parts.jsonl", NULL);
    int lines = 0;
    for (const char *c = log; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, 4); /* one an epoch, over all parts */
    free(log);
}

static void an_interrupted_training_goes_on(void **state) {
    (void)state;
    const char *train = "train --model residual.net --data many --epochs 4 --batch 8 --warmup 100 "
                        "--weight-decay 1e-4 --nesterov";
    interruptions_change_no_byte(train, "train", SIGINT);
    interruptions_change_no_byte(train, "train", SIGTERM);
}

static void an_interrupted_finetuning_goes_on(void **state) {
    (void)state;
    must("train --model tiny.net --data many --epochs 1 -o i.st");
    must("calibrate i.st --data many -o ic.st");
    const char *finetune = "finetune ic.st --data many --epochs 4 --batch 8 --lr 1e-3";
    interruptions_change_no_byte(finetune, "finetune", SIGINT);
    interruptions_change_no_byte(finetune, "finetune", SIGTERM);
}

static void a_longer_run_extends_it(void **state) {
    (void)state;
    static const char *const schedules[] = {"constant", "step --step-size 1 --gamma 0.5"};
    for (int i = 0; i < 2; i++) {
        const char *train = "train --model tiny.net --data data --batch 16";
        must("%s --epochs 4 --schedule %s -o long.st", train, schedules[i]);
        must("%s --epochs 2 --schedule %s -o short.st", train, schedules[i]);
        must("train --resume short.st --epochs 4 -o longer.st");
        assert_true(same_bytes("long.st", "longer.st"));
        assert_false(same_bytes("long.st", "short.st"));
        must("train --resume short.st --epochs 3");
        must("train --resume short.st --epochs 4");
        assert_true(same_bytes("long.st", "short.st"));
        must("train --resume short.st"); /* complete: nothing changes */
        assert_non_null(strstr(printed.err, "the run is complete"));
        assert_true(same_bytes("long.st", "short.st"));
    }
}

static void a_resumed_run_keeps_its_recipe(void **state) {
    (void)state;
    must("train --model tiny.net --data data --epochs 2 --batch 16 --limit 200 -o r.st");
    must("train --model tiny.net --data data --epochs 2 --batch 16 --limit 200 -o kept.st");
    static const char *const options[] = {"--lr 0.5",      "--batch 8",           "--momentum 0.5",
                                          "--seed 3",      "--schedule step",     "--warmup 4",
                                          "--limit 10",    "--weight-decay 1",    "--nesterov",
                                          "--gamma 0.5",   "--step-size 3",       "--epochs 1",
                                          "--model netbn", "--model residual.net"};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        char fragment[64];
        snprintf(fragment, sizeof fragment, "%.*s contradicts r.st", (int)strcspn(options[i], " "),
                 options[i]);
        refused(2, fragment, "train --resume r.st %s", options[i]);
    }
    refused(3, "these are not the images", "train --resume r.st --epochs 3 --data other");
    assert_true(same_bytes("r.st", "kept.st"));
    must("train --resume r.st --epochs 3 --lr 0.02 --batch 16 --model ./tiny.net --seed 0");
    must("train --model tiny.net --data data --epochs 0 --seed 7 -o zero.st");
    must("eval zero.st --data data");
    must("train --resume zero.st --epochs 1");
    must("train --model tiny.net --data data --epochs 1 --seed 7 -o one.st");
    assert_true(same_bytes("zero.st", "one.st"));
    must("calibrate one.st --data data -o rc.st");
    must("finetune rc.st --data data --epochs 0 -o rq.st");
    verifies("rq.st");
    refused(2, "--lr contradicts rq.st", "finetune --resume rq.st --lr 1");
}

/* ---- what goes wrong, and what is told meanwhile ---- */

static void divergence_is_told_and_keeps_the_file(void **state) {
    (void)state;
    static const char *const batches[] = {"16", "256"}; /* amid an epoch; at its end */
    for (int i = 0; i < 2; i++) {
        const char *train = "train --model residual.net --data data --epochs 3 --lr 1e30";
        must("train --model tiny.net --data data --epochs 1 -o good.st");
        must("train --model tiny.net --data data --epochs 1 -o copy.st");
        assert_int_equal(stair("%s --batch %s -o good.st --quiet", train, batches[i]), 4);
        assert_true(same_bytes("good.st", "copy.st"));
        refused(4, "diverged at step ", "%s --batch %s -o bad.st --quiet", train, batches[i]);
        assert_non_null(strstr(printed.err, "learning rate 1e+30") ? printed.err
                                                                   : strstr(printed.err, "e+29"));
        assert_non_null(strstr(printed.err, "nothing was saved"));
        assert_false(file_exists("bad.st"));
    }
    must("calibrate copy.st --data data -o dc.st");
    refused(4, "diverged at step ", "finetune dc.st --data data --epochs 3 --lr 1e30 -o bad.st -q");
    assert_false(file_exists("bad.st"));
    assert_no_temporaries();
}

static void the_log_has_a_line_an_epoch(void **state) {
    (void)state;
    must("train --model tiny.net --data data --epochs 3 --batch 16 --limit 40 --log log.jsonl -o "
         "l.st");
    assert_null(strchr(printed.err, '\r'));
    assert_string_equal(printed.out, "");
    int lines = 0;
    for (const char *c = printed.err; (c = strstr(c, "epoch ")); c++) lines++;
    assert_int_equal(lines, 3);
    char *log = file_bytes("log.jsonl", NULL), *line = log;
    for (int epoch = 1; epoch <= 3; epoch++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = '\0';
        json_t *json = json_loads(line, 0, NULL);
        assert_non_null(json);
        assert_keys(json, "epoch step loss train_accuracy test_accuracy learning_rate "
                          "images_per_second");
        assert_true(number(json, "epoch") == epoch && number(json, "step") == 3 * epoch);
        assert_true(number(json, "loss") > 0 && number(json, "images_per_second") > 0);
        /* the last cosine step's rate is a small part of the first's */
        if (epoch == 3) assert_true(number(json, "learning_rate") < 0.2 * 0.02);
        json_decref(json);
        line = end + 1;
    }
    assert_int_equal(*line, '\0');
    free(log);
    must("train --model tiny.net --data data --epochs 2 --quiet -o l.st");
    assert_string_equal(printed.err, "");
    must("train --resume l.st --quiet --epochs 3");
    assert_string_equal(printed.err, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_goes_the_whole_way),
        cmocka_unit_test(residual_goes_the_whole_way),
        cmocka_unit_test(calibrates_in_every_way),
        cmocka_unit_test(calibrates_by_a_file),
        cmocka_unit_test(predicts),
        cmocka_unit_test(benches),
        cmocka_unit_test(threads_change_no_byte),
        cmocka_unit_test(an_interrupted_training_goes_on),
        cmocka_unit_test(an_interrupted_finetuning_goes_on),
        cmocka_unit_test(a_longer_run_extends_it),
        cmocka_unit_test(a_resumed_run_keeps_its_recipe),
        cmocka_unit_test(divergence_is_told_and_keeps_the_file),
        cmocka_unit_test(the_log_has_a_line_an_epoch),
    };
    return cmocka_run_group_tests(tests, setup, program_teardown);
}
