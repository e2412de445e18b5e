/* Recurrent nets and dynamic quantization through the program: every command that takes such a
 * file, and what is said where there is another way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/program.h"

/* rows.net trained as float.st; dynamic.st and conv.st are frozen dynamically. */
static int setup(void **state) {
    if (program_setup(state) != 0) return -1;
    write_nets();
    write_idx("data", 512, 64);
    file_text("rows.net", "x    = input shape=1x12x12\n"
                          "rows = reshape x shape=12x12\n"
                          "gru  = gru rows hidden=16\n"
                          "lstm = lstm gru hidden=16 bidirectional=true output=last\n"
                          "fc   = linear lstm out=4\n");
    return shell(
        "set -e; for c in 'train --model rows.net --data data --epochs 4 --lr 0.1 --batch 16 -o "
        "float.st' 'freeze --dynamic float.st -o dynamic.st' 'train --model tiny.net --data data "
        "--epochs 2 -o tiny.st' 'freeze --dynamic tiny.st -o conv.st'; do \"$STAIR\" $c -q; done");
}

static double accuracy(const char *file, const char *stage, const char *engine) {
    must("eval %s --data data --json --predictions %s.csv", file, file);
    json_t *json = printed_json();
    assert_keys(json, "stage engine images correct accuracy images_per_second");
    assert_string_equal(member_text(json, "stage"), stage);
    assert_string_equal(member_text(json, "engine"), engine);
    double result = member_number(json, "accuracy");
    json_decref(json);
    return result;
}

/* Nets that separate four bright quarters get nearly all of them, in either arithmetic: 0.9 is far
 * below that and far above the 0.25 of guessing. */
static void evaluates_as_integers(void **state) {
    (void)state;
    assert_true(accuracy("float.st", "float", "float") > 0.9);
    assert_true(accuracy("tiny.st", "float", "float") > 0.9);
    assert_true(accuracy("dynamic.st", "frozen", "integer") > 0.9);
    assert_true(accuracy("conv.st", "frozen", "integer") > 0.9);
    static const char *const files[] = {"dynamic.st", "conv.st"};
    for (int i = 0; i < 2; i++) { /* whatever the batch and the threads */
        must("eval %s --data data --batch 7 --threads 3 --predictions other.csv", files[i]);
        char csv[32];
        snprintf(csv, sizeof csv, "%s.csv", files[i]);
        assert_true(same_bytes(csv, "other.csv"));
        assert_false(same_bytes(csv, i ? "tiny.st.csv" : "float.st.csv"));
        must_verify(files[i]);
    }
    must("freeze --dynamic --per-tensor float.st -o tensor.st -q");
    assert_true(accuracy("tensor.st", "frozen", "integer") > 0.9);
    must_verify("tensor.st");
}

static void other_commands_take_it(void **state) {
    (void)state;
    must("inspect dynamic.st");
    assert_non_null(strstr(printed.out, "stage frozen"));
    assert_non_null(strstr(printed.out, "dynamic, 8 bits"));
    assert_non_null(strstr(printed.out, "lstm.weight_hh_l0_reverse"));
    must("inspect dynamic.st --json");
    json_t *json = printed_json();
    assert_string_equal(member_text(json, "stage"), "frozen");
    const json_t *list = json_object_get(json, "dynamic"), *first = json_array_get(list, 0);
    assert_int_equal(json_array_size(list), 7);
    assert_keys(first, "node matrix outputs depth scales least_scale largest_scale");
    assert_string_equal(member_text(first, "matrix"), "weight_ih_l0");
    assert_true(member_number(first, "outputs") == 48 && member_number(first, "depth") == 12);
    json_decref(json);
    must("bench infer dynamic.st --batch 4 --json");
    json = printed_json();
    assert_true(member_number(json, "images_per_second") > 0);
    json_decref(json);
    char picture[14 + 12 * 12] = "P5 12 12 255\n";
    file_put("quarter.pgm", picture, 13 + 12 * 12);
    must("predict dynamic.st quarter.pgm --json");
    json = printed_json();
    assert_string_equal(member_text(json, "engine"), "integer");
    json_decref(json);
    must("freeze dynamic.st -o again.st"); /* what is frozen stays as it is */
    assert_true(same_bytes("dynamic.st", "again.st"));
}

static void says_what_to_do_instead(void **state) {
    (void)state;
    refused(3, "calibrate it first: stair calibrate (or freeze it with --dynamic)",
            "freeze float.st -o no.st");
    must("calibrate float.st --data data --images 64 -o calibrated.st");
    assert_non_null(strstr(printed.err, "these layers stay float: gru, lstm"));
    must("eval calibrated.st --data data");
    must("finetune calibrated.st --data data --epochs 0.5 -o qat.st -q");
    refused(3,
            "gru: gru layers stay float among quantized ones: such a net can be evaluated and "
            "fine-tuned; its integers come from the float net, by stair freeze --dynamic",
            "freeze qat.st -o no.st");
    refused(3, "--dynamic takes a float one", "freeze --dynamic calibrated.st -o no.st");
    refused(3, "--dynamic takes a float one", "freeze --dynamic dynamic.st -o no.st");
    refused(2, "--per-tensor: only with --dynamic", "freeze --per-tensor calibrated.st -o no.st");
    refused(3, "stage frozen", "calibrate dynamic.st --data data -o no.st");
    refused(3, "stage frozen", "finetune dynamic.st --data data -o no.st");
    refused(3, "dynamic.st is quantized dynamically", "explain dynamic.st fc --data data");
    refused(3, "lstm: it stays float", "explain calibrated.st lstm --data data");
    refused(3, "dynamic.st: rows.net is quantized dynamically", "export c dynamic.st -o no.c");
    refused(3, "dynamic.st: rows.net is quantized dynamically",
            "export onnx dynamic.st -o no.onnx");
    refused(3, "stage frozen", "sweep dynamic.st --data data -o no.json");
    refused(3, "stage frozen", "train --resume dynamic.st");
    file_text("convs.net",
              "x = input shape=1x12x12\nc = conv2d x out=4 kernel=12\nf = flatten c\n");
    must("train --model convs.net --data data --epochs 1 -o convs.st -q");
    refused(3, "no layer for dynamic quantization: those are linear, lstm and gru",
            "freeze --dynamic convs.st -o no.st");
    assert_false(file_exists("no.st"));
    assert_no_temporaries();
}

/* Training in two parts, on other threads, gives the bytes of training at once. */
static void a_resumed_run_has_the_same_bytes(void **state) {
    (void)state;
    const char *common = "--data data --batch 16 --schedule constant -q";
    must("train --model rows.net %s --epochs 2 --threads 1 -o whole.st", common);
    must("train --model rows.net %s --epochs 1 --threads 3 -o parts.st", common);
    must("train --resume parts.st --epochs 2 --threads 2 -q");
    assert_true(same_bytes("whole.st", "parts.st"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(evaluates_as_integers),
        cmocka_unit_test(other_commands_take_it),
        cmocka_unit_test(says_what_to_do_instead),
        cmocka_unit_test(a_resumed_run_has_the_same_bytes),
    };
    return cmocka_run_group_tests(tests, setup, program_teardown);
}
