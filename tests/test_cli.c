/* The program misused: wrong words, wrong outputs, wrong surroundings. Every failure has its exit
 * status, one line that names what is at fault, and leaves no file behind or changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "quant/model.h"
#include "nn/layer.h"
#include "tests/program.h"
#include "tests/scratch.h"

/* ---- words ---- */

static void says_how_it_is_used(void **state) {
    (void)state;
    assert_int_equal(stair(" "), 2);
    assert_memory_equal(printed.err, "usage: stair ", 13);
    assert_string_equal(printed.out, "");
    static const char *const helps[] = {"--help",   "-h",           "help",          "help train",
                                        "train -h", "train --help", "bench x --help"};
    for (size_t i = 0; i < sizeof helps / sizeof *helps; i++) {
        must("%s", helps[i]);
        assert_memory_equal(printed.out, "usage: stair ", 13);
        assert_string_equal(printed.err, "");
    }
    must("--version");
    assert_memory_equal(printed.out, "stair ", 6);
}

static void refuses_wrong_words(void **state) {
    (void)state;
    refused(2, "no command \"evla\"; did you mean eval?", "evla float.st");
    refused(2, "no command \"zzzzzzz\"", "zzzzzzz");
    refused(2, "did you mean freeze?", "help freze");
    must("help layers");
    for (int i = 0; layer_list[i]; i++)
        assert_non_null(strstr(printed.out, layer_list[i]->summary));
    refused(2, "options come after the command", "--json eval float.st");
    refused(2, "unknown option --limt; did you mean --limit?", "eval float.st --limt 3");
    refused(2, "unknown option -x", "eval float.st -x");
    refused(2, "--epochs belongs to train, finetune", "eval float.st --epochs 3");
    refused(2, "--limit needs a value", "eval float.st --limit");
    refused(2, "--json takes no value", "eval float.st --json=1");
    refused(2, "eval needs IN", "eval");
    refused(2, "argument 1 is empty", "eval ''");
    refused(2, "unexpected argument \"b\"", "eval a b");
    refused(2, "freeze needs --output OUT", "freeze qat.st");
    refused(2, "train needs --model", "train -o x.st");
    refused(2, "IN or --resume FILE", "finetune -o x.st");
    refused(2, "IN or --resume FILE", "finetune calibrated.st --resume qat.st -o x.st");
    refused(2, "expected train or infer", "bench fly float.st");
    refused(2, "IN or --model NAME", "bench infer");
    refused(2, "predict needs IN IMAGE", "predict float.st");
    refused(2, "--per-tensor contradicts --per-channel",
            "calibrate float.st --per-tensor --per-channel -o x.st");
    refused(2, "unknown model 'mlpp', did you mean 'mlp'", "train --model mlpp -o x.st");
    must("eval float.st --data nowhere --data data --limit 5 --limit 3"); /* the last wins */
    assert_non_null(strstr(printed.out, "of 3 correct"));
    assert_false(file_exists("x.st"));
}

static void refuses_wrong_values(void **state) {
    (void)state;
    static const char *const numbers[] = {"12x", "nan",  "inf",  "-1",  "1,5",
                                          "''",  "0x10", "1e99", "' 1'"};
    static const char *const options[] = {"epochs", "lr",      "batch", "seed",
                                          "warmup", "threads", "limit"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        for (size_t k = 0; k < sizeof options / sizeof *options; k++) {
            char fragment[32];
            snprintf(fragment, sizeof fragment, "--%s takes a ", options[k]);
            refused(2, fragment, "train --model tiny.net --data data --%s %s -o x.st", options[k],
                    numbers[i]);
        }
    refused(2, "--threads takes a whole number from 1 to", "eval float.st --threads 0");
    refused(2, "--threads takes a whole number from 1 to", "eval float.st --threads 99999999999");
    refused(2, "--bits takes a whole number from 2 to 8", "calibrate float.st --bits 9 -o x.st");
    refused(2, "--weight-bits takes", "calibrate float.st --weight-bits 1 -o x.st");
    refused(2, "--split takes test or train", "eval float.st --split validation");
    refused(2, "--schedule takes cosine, step or constant", "train --schedule linear");
    assert_false(file_exists("x.st"));
}

/* What would change nothing is not taken in silence; with what it needs it is taken. */
static void refuses_options_without_effect(void **state) {
    (void)state;
    static const char *const refusals[][2] = {
        {"--gamma says nothing without --schedule step", "train --model tiny.net --gamma 0.5"},
        {"--step-size says nothing without --schedule step",
         "train --model tiny.net --schedule constant --step-size 2"},
        {"--gamma says nothing without --schedule step", "finetune calibrated.st --gamma 0.5"},
        {"--step-size says nothing without --schedule step", "sweep float.st --step-size 2"},
        {"--nesterov says nothing with --momentum 0",
         "train --model tiny.net --data data --nesterov --momentum 0"},
        {"--percentile says nothing without --method percentile",
         "calibrate float.st --data data --percentile 99"},
        {"--percentile says nothing without --method percentile",
         "calibrate float.st --data data --method mse --percentile 99"},
        {"--percentile says nothing without --method percentile",
         "calibrate float.st --data data --config bits.json --percentile 99"},
        {"--percentile says nothing without --method percentile",
         "calibrate calibrated.st --percentile 99"},
        {"--percentile says nothing", "sweep float.st --data data --percentile 99"},
        {"--adaround-steps says nothing without --adaround",
         "calibrate float.st --adaround-steps 9"},
        {"--batch: calibrated.st is calibrated", "calibrate calibrated.st --batch 8"},
        {"--freeze-bn-after says nothing with --bn frozen",
         "finetune calibrated.st --data data --freeze-bn-after 1"},
        {"--bn running: plain.net has no batchnorm", "finetune plain.st --data data --bn running"},
        {"--freeze-observers-after contradicts --fixed-scales",
         "finetune calibrated.st --fixed-scales --freeze-observers-after 1"},
        {"--lr says nothing with --finetune-epochs 0",
         "sweep float.st --finetune-epochs 0 --lr 0.1"},
        {"--nesterov says nothing with --finetune-epochs 0",
         "sweep float.st --finetune-epochs 0 --nesterov"},
    };
    file_text("bits.json", "{\"weight\": {\"bits\": 4}}");
    file_text("weights.json", "{\"weight\": {\"method\": \"percentile\"}}");
    file_text("plain.net", "x = input shape=1x12x12\nf = flatten x\nfc = linear f out=4\n");
    must("train --model plain.net --data data --epochs 0 -o p.st -q");
    must("calibrate p.st --data data -o plain.st -q");
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        refused(2, refusals[i][0], "%s -o x.st", refusals[i][1]);
    refused(2, "--method: --compare tries all", "calibrate calibrated.st --compare --method mse");
    refused(2, "--drop says nothing without --write-config", "sensitivity float.st --drop 0.1");
    refused(2, "--size says nothing without --write-config", "sensitivity float.st --size 100");
    refused(2, "--percentile says nothing", "sensitivity float.st --data data --percentile 99");
    assert_false(file_exists("x.st"));

    must("train --model tiny.net --data data --epochs 1 --schedule step --gamma 0.5 -o e.st -q");
    must("train --resume e.st --gamma 0.5 --epochs 2 -q");
    must("calibrate float.st --data data --config weights.json --percentile 99 -o e.st -q");
    must("calibrate e.st --percentile 98 -o e2.st -q");
    must("calibrate e.st --data data --compare --percentile 98 --batch 8 -q");
    must("calibrate float.st --data data --bias-correction --method mse --compare -q");
    must("finetune calibrated.st --data data --bn running --epochs 1 -o q.st -q");
    must("finetune q.st --data data --freeze-bn-after 1 --epochs 1 -o r.st -q"); /* its file's */
}

/* What is offered works: each method that the help names calibrates. */
static void offers_what_works(void **state) {
    (void)state;
    must("calibrate --help");
    const char *methods = strstr(printed.out, "--method NAME");
    assert_non_null(methods);
    char list[160];
    snprintf(list, sizeof list, "%s", methods);
    static const char *const names[] = {"minmax", "moving-average", "percentile", "entropy", "mse"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int status = stair("calibrate float.st --data data --method %s -o method.st", names[i]);
        assert_int_equal(status, strstr(list, names[i]) ? 0 : 2);
    }
}

/* ---- files that go out ---- */

static void refuses_wrong_outputs(void **state) {
    (void)state;
    static const char *const commands[] = {
        "train --model tiny.net --data data --epochs 1 --log never.jsonl -o",
        "train --resume float.st --epochs 2 -o",
        "calibrate float.st --data data -o",
        "finetune calibrated.st --data data -o",
        "freeze qat.st -o",
        "eval float.st --data data --predictions",
    };
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        refused(1, "no/x.st: cannot open its folder: No such file", "%s no/x.st", commands[i]);
        refused(1, "folder: not a regular file", "%s folder", commands[i]);
        refused(1, "folder/: ", "%s folder/", commands[i]);
        refused(1, "/dev/full: not a regular file", "%s /dev/full", commands[i]);
        refused(1, "/proc/x.st: ", "%s /proc/x.st", commands[i]);
    }
    assert_false(file_exists("never.jsonl")); /* refused before anything was done */
    refused(1, "no/l.jsonl: No such file",
            "train --model tiny.net --data data --log no/l.jsonl -o x.st");

    static const char *const in_and_out[] = {
        "freeze qat.st -o qat.st",
        "freeze qat.st -o ./qat.st",
        "calibrate float.st -o float.st",
        "finetune calibrated.st -o ../$(basename \"$PWD\")/calibrated.st",
        "train --model tiny.net -o tiny.net",
        "train --resume float.st --log float.st",
        "eval float.st --predictions float.st",
        "calibrate float.st --config tiny.net -o tiny.net",
        "sensitivity calibrated.st --write-config calibrated.st",
        "sweep float.st --csv float.st",
    };
    for (size_t i = 0; i < sizeof in_and_out / sizeof *in_and_out; i++)
        refused(2, "is input and output; name another output", "%s", in_and_out[i]);
    must("train --model mlp --epochs 0 --limit 10 -o mlp"); /* a net of the zoo is no file */
    must("train --model mlp --epochs 0 --limit 10 -o mlp");
    refused(2, "y.st would be written twice", "train --model tiny.net --log y.st -o y.st");
    refused(2, "y.st would be written twice", "sweep float.st --csv y.st -o y.st");
    assert_false(file_exists("x.st") || file_exists("y.st"));
    must("eval float.st --data data"); /* it is still there */
}

/* ---- surroundings ---- */

static void surroundings_do_not_matter(void **state) {
    (void)state;
    must("train --model tiny.net --data data --epochs 1 -o plain.st");
    must("eval plain.st --data data --predictions plain.csv --json");
    static const char *const trials[] = {
        "LC_ALL=de_DE.UTF-8 LANG=de_DE.UTF-8 %s",
        "OPENBLAS_NUM_THREADS=junk %s",
        "OPENBLAS_NUM_THREADS=0 OMP_NUM_THREADS=-7 %s",
        "TZ=junk env -u HOME -u TERM %s",
        "env -i STAIR=\"$STAIR\" %s",
        "%s <&-",
        "%s >&-",
        "%s 2>&-",
        "%s <&- >&- 2>&-",
        "%s 2>/dev/full",
    };
    const char *train = "\"$STAIR\" train --model tiny.net --data data --epochs 1 -o here.st";
    const char *eval = "\"$STAIR\" eval here.st --data data --predictions here.csv --json";
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
        char line[512];
        unlink("here.st");
        snprintf(line, sizeof line, trials[i], train);
        if (shell("%s", line)) fail_msg("%s: %s", line, printed.err);
        assert_true(same_bytes("plain.st", "here.st"));
        snprintf(line, sizeof line, trials[i], eval);
        if (shell("%s", line)) fail_msg("%s: %s", line, printed.err);
        assert_true(same_bytes("plain.csv", "here.csv"));
    }
}

static void results_that_cannot_be_written_are_a_failure(void **state) {
    (void)state;
    static const char *const commands[] = {
        "--help",
        "--version",
        "help train",
        "eval float.st --data data",
        "inspect qat.st",
        "inspect qat.st --json",
        "verify qat.st --data data --json",
        "eval float.st --data data --json",
    };
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        refused(1, "standard output: ", "%s >/dev/full", commands[i]);
    /* the reader leaves: it may end by SIGPIPE, but says nothing */
    assert_int_equal(shell("\"$STAIR\" inspect qat.st | head -n 1"), 0);
    assert_non_null(strstr(printed.out, "stage qat"));
    assert_string_equal(printed.err, "");
    /* who trains goes on when nobody listens */
    assert_int_equal(shell("(\"$STAIR\" train --model tiny.net --data data --epochs 3 -o heard.st; "
                           "echo $? >status) 2>&1 | true; grep -qx 0 status"),
                     0);
}

/* A limit on the size of files stands for the full disk: write fails the same way. */
static void a_full_disk_leaves_the_old_file(void **state) {
    (void)state;
    must("train --model tiny.net --data data --epochs 1 -o old.st");
    must("train --model tiny.net --data data --epochs 1 -o copy.st");
    static const char *const commands[] = {
        "train --model tiny.net --data data --epochs 2 -q",
        "calibrate float.st --data data -q",
        "finetune calibrated.st --data data -q",
        "freeze qat.st",
    };
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        assert_int_equal(shell("ulimit -f 1; exec \"$STAIR\" %s -o old.st", commands[i]), 1);
        assert_string_equal(printed.err, "stair: old.st: File too large\n");
        assert_int_equal(shell("ulimit -f 1; exec \"$STAIR\" %s -o x.st", commands[i]), 1);
        assert_true(same_bytes("old.st", "copy.st"));
        assert_false(file_exists("x.st"));
        assert_no_temporaries();
    }
    assert_int_equal(
        shell("ulimit -f 1; exec \"$STAIR\" eval float.st --data data --predictions x.csv"), 1);
    assert_false(file_exists("x.csv"));
    assert_no_temporaries();
}

static void exports(void **state) {
    (void)state;
    must("help export");
    assert_non_null(strstr(printed.out, "formats:\n  c          C99 source"));
    refused(2, "unknown format 'pdf': known are c", "export pdf frozen.st -o x.c");
    refused(2, "--prefix takes a C identifier", "export c frozen.st --prefix 4 -o x.c");
    refused(3, "qat.st: the model is in stage qat; freeze it first", "export c qat.st -o x.c");
    refused(1, "none.st: ", "export c none.st -o x.c");
    file_text("linear.net", "x = input shape=1x12x12\nf = flatten x\nfc = linear f out=4\n");
    must("train --model linear.net --data data --epochs 1 -o linear.st -q");
    must("freeze --dynamic linear.st -o dynamic.st -q");
    refused(3, "dynamic.st: linear.net is quantized dynamically", "export c dynamic.st -o x.c");
    assert_int_equal(shell("cp frozen.st x.h"), 0);
    refused(2, "x.h would be replaced by the header", "export c x.h -o x.c");
    assert_true(same_bytes("frozen.st", "x.h"));
    unlink("x.h");
    assert_int_equal(shell("ulimit -f 8; exec \"$STAIR\" export c frozen.st -o x.c"), 1);
    assert_string_equal(printed.err, "stair: x.c: File too large\n");
    assert_false(file_exists("x.c") || file_exists("x.h"));
    must("export c frozen.st -o x.c -q");
    assert_string_equal(printed.err, "");
    assert_true(file_exists("x.c") && file_exists("x.h"));
    assert_no_temporaries();
}

/* Killed at any moment, what lies under the output's name is the last whole file. */
static void a_killed_run_leaves_a_whole_file(void **state) {
    (void)state;
    write_idx("many", 512, 16);
    must("train --model tiny.net --data many --epochs 1 -o killed.st");
    for (int i = 0; i < 10; i++) {
        pid_t pid = stair_start("train --model tiny.net --data many --epochs 1000 -o killed.st");
        usleep((useconds_t)(20000 + 3001 * i));
        kill(pid, SIGKILL);
        assert_int_equal(stair_finish(pid), 128 + SIGKILL);
        must("eval killed.st --data many");
    }
    must("train --model tiny.net --data many --epochs 1 -o killed.st");
    assert_no_temporaries(); /* what the killed ones left was removed by the next save */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_how_it_is_used),
        cmocka_unit_test(refuses_wrong_words),
        cmocka_unit_test(refuses_wrong_values),
        cmocka_unit_test(refuses_options_without_effect),
        cmocka_unit_test(offers_what_works),
        cmocka_unit_test(refuses_wrong_outputs),
        cmocka_unit_test(surroundings_do_not_matter),
        cmocka_unit_test(results_that_cannot_be_written_are_a_failure),
        cmocka_unit_test(a_full_disk_leaves_the_old_file),
        cmocka_unit_test(exports),
        cmocka_unit_test(a_killed_run_leaves_a_whole_file),
    };
    return cmocka_run_group_tests(tests, program_stages, program_teardown);
}
