/* The promises about bytes: the same at any thread count and after any interruption; and what a run
 * tells meanwhile. */
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

#include "tests/changed_file.h"
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
    for (int t = 1; t <= 2; t++)
        must("%s --augment shift,cutout --threads %d -o ta%d.st", train, t, t);
    assert_true(same_bytes("ta1.st", "ta2.st"));
    assert_false(same_bytes("ta1.st", "t1.st"));
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
    bool amid = member_number(json_object_get(json, "training"), "seen") > 0;
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
                        "--weight-decay 1e-4 --nesterov --augment flip,shift,crop,cutout";
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
    static const char *const schedules[] = {"constant", "step --step-size 1 --gamma 0.5",
                                            "constant --optimizer adamw --lr 0.002"};
    for (int i = 0; i < 3; i++) {
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
    static const char *const options[] = {
        "--lr 0.5",        "--batch 8",     "--momentum 0.5",       "--seed 3",
        "--schedule step", "--warmup 4",    "--limit 10",           "--weight-decay 1",
        "--nesterov",      "--gamma 0.5",   "--step-size 3",        "--epochs 1",
        "--augment flip",  "--model netbn", "--model residual.net", "--optimizer adamw"};
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
    must_verify("rq.st");
    refused(2, "--lr contradicts rq.st", "finetune --resume rq.st --lr 1");
}

/* `changed`: p.st, but for one option of its run, given as JSON. */
static void change_option(const char *option, const char *value) {
    Change c;
    change_open(&c, "p.st");
    const char *text = safetensors_meta(&c.file, "stair.training");
    assert_non_null(text);
    json_t *training = json_loads(text, 0, NULL), *json = json_loads(value, JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    assert_int_equal(json_object_set_new(json_object_get(training, "options"), option, json), 0);
    char *changed = json_dumps(training, 0);
    change_meta(&c, "stair.training", changed);
    Error error;
    Model *model = change_load(&c, &error);
    if (!model) fail_msg("%s", error.message);
    model_free(model);
    json_decref(training);
    free(changed);
}

/* Which parameters learn, and how fast, is asked of the net only when the run begins. In a resumed
 * run it is the file that is wrong, not the command line. */
static void wrong_words_of_a_file_are_its_own(void **state) {
    (void)state;
    static const char *const cases[][3] = {
        {"keep", "\"conv9.*\"", "--keep: no trainable parameter of tiny.net matches \"conv9.*\""},
        {"keep", "\"fc.weight,\"", "--keep: no trainable parameter"},
        {"keep", "\"*\"", "--keep: nothing is left to train"},
        {"keep", "7", "'keep' is missing or no value for it"},
        {"rates", "\"conv9.*=1\"", "--rates: no trainable parameter matches \"conv9.*\""},
        {"rates", "\"fc.weight\"", "--rates: \"fc.weight\", expected NAME=FACTOR"},
        {"rates", "\"fc.weight=-1\"", "--rates: \"fc.weight\", expected NAME=FACTOR"},
        {"rates", "[]", "'rates' is missing or no value for it"},
        {"nesterov", "true", "--nesterov: adamw has no such momentum"},
    };
    must("train --model tiny.net --data data --epochs 1 --optimizer adamw --keep 'conv1.*' "
         "--rates '*=2' -o p.st -q");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char fragment[160];
        snprintf(fragment, sizeof fragment, "changed: stair.training: %s", cases[i][2]);
        change_option(cases[i][0], cases[i][1]);
        refused(3, fragment, "train --resume changed --epochs 2 -o new.st");
        assert_false(file_exists("new.st"));
    }
    change_option("keep", "\"conv1.*,fc.*\""); /* nothing but what is wrong is refused */
    must("train --resume changed --epochs 2 -o new.st -q");
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
        assert_true(member_number(json, "epoch") == epoch &&
                    member_number(json, "step") == 3 * epoch);
        assert_true(member_number(json, "loss") > 0 &&
                    member_number(json, "images_per_second") > 0);
        /* the last cosine step's rate is a small part of the first's */
        if (epoch == 3) assert_true(member_number(json, "learning_rate") < 0.2 * 0.02);
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
        cmocka_unit_test(threads_change_no_byte),
        cmocka_unit_test(an_interrupted_training_goes_on),
        cmocka_unit_test(an_interrupted_finetuning_goes_on),
        cmocka_unit_test(a_longer_run_extends_it),
        cmocka_unit_test(a_resumed_run_keeps_its_recipe),
        cmocka_unit_test(wrong_words_of_a_file_are_its_own),
        cmocka_unit_test(divergence_is_told_and_keeps_the_file),
        cmocka_unit_test(the_log_has_a_line_an_epoch),
    };
    return cmocka_run_group_tests(tests, setup, program_teardown);
}
