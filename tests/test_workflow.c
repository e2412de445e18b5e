/* Post-training quantization and fine-tuning by the recipes of the sources, through the program. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "quant/method.h"
#include "quant/model.h"
#include "tests/program.h"

static int setup(void **state) {
    if (program_setup(state) != 0) return -1;
    write_nets();
    write_idx("data", 256, 64);
    return shell("\"$STAIR\" train --model tiny.net --data data --epochs 20 --batch 16 --lr 0.03 "
                 "-o f.st -q");
}

/* Ranges are chosen anew from the file alone, where no data are, and are those that calibrating
 * with that method at once would have given. */
static void methods_need_no_data_again(void **state) {
    (void)state;
    must("calibrate f.st --data data -o c.st -q");
    for (int i = 0; method_list[i]; i++) {
        const char *method = method_list[i]->name;
        const char *share = strcmp(method, "percentile") == 0 ? "--percentile 99" : "";
        must("calibrate f.st --data data --method %s %s -o direct.st -q", method, share);
        must("calibrate c.st --data nowhere --method %s %s -o anew.st -q", method, share);
        assert_true(same_bytes("direct.st", "anew.st"));
        must("calibrate anew.st --data nowhere -o back.st -q");
        assert_true(same_bytes("back.st", "c.st"));
    }
}

/* The table has each method's accuracy, which is that of the file it would make; nothing is written
 * for it. */
static void compare_is_the_table_of_methods(void **state) {
    (void)state;
    must("calibrate f.st --data data --bits 3 --weight-bits 3 -o c.st -q");
    must("calibrate c.st --data data --compare --json -q");
    json_t *table = printed_json();
    int rows = 0;
    for (; method_list[rows]; rows++) {
        must("calibrate c.st --method %s -o m.st -q", method_list[rows]->name);
        assert_true(accuracy_of("m.st") == member_number(table, method_list[rows]->name));
    }
    assert_int_equal(json_object_size(table), rows);
    json_decref(table);
    must("calibrate c.st --data data --compare -q");
    for (int i = 0; i < rows; i++) assert_non_null(strstr(printed.out, method_list[i]->name));
}

/* An imported model has ranges and no histograms: nothing is printed before it is refused. */
static void compare_needs_histograms(void **state) {
    (void)state;
    must("calibrate f.st --data data -o c.st -q");
    must("export onnx c.st -o c.onnx -q");
    must("import c.onnx -o given.st -q");
    refused(3, "there is no histogram", "calibrate given.st --data data --compare");
    assert_string_equal(printed.out, "");
}

/* A graph may be read up to any of its values. */
static void a_graph_is_read_up_to_a_value(void **state) {
    (void)state;
    must("export onnx f.st -o f.onnx -q");
    must("import f.onnx --graph-output pool1 -o cut.st -q");
    must("inspect cut.st --json");
    json_t *json = printed_json();
    const json_t *nodes = json_object_get(json, "nodes");
    assert_string_equal(member_text(json_array_get(nodes, json_array_size(nodes) - 1), "name"),
                        "pool1");
    json_decref(json);
    refused(3, "nothing makes its output", "import f.onnx --graph-output nobody -o none.st");
}

/* The rate that the log's line of this epoch says. */
static double logged_rate(const char *log, int epoch) {
    char *text = file_bytes(log, NULL), *line = text;
    for (int i = 1; i < epoch; i++) line = strchr(line, '\n') + 1;
    json_t *json = json_loadb(line, strcspn(line, "\n"), 0, NULL);
    double rate = member_number(json, "learning_rate");
    json_decref(json);
    free(text);
    return rate;
}

/* A tenth of the schedule, from a hundredth of the rate, by half a cosine, to a hundredth of that.
 */
static void finetune_follows_the_recipe(void **state) {
    (void)state;
    must("calibrate f.st --data data -o c.st -q");
    must("finetune c.st --data data --batch 16 --log q.jsonl -o q.st -q");
    must("inspect q.st --json");
    json_t *json = printed_json();
    const json_t *training = json_object_get(json, "training");
    const json_t *options = json_object_get(training, "options");
    assert_true(member_number(options, "epochs") == 2);
    assert_true(fabs(member_number(options, "lr") - 0.0003) < 1e-12);
    assert_string_equal(member_text(options, "schedule"), "cosine");
    assert_true(member_number(training, "step") == 2 * 256 / 16);
    json_decref(json);
    /* the rate of the last step of an epoch: 15 and 31 of 32 */
    for (int epoch = 1; epoch <= 2; epoch++) {
        double part = (16 * epoch - 1) / 32.0, high = 0.0003, low = 0.000003;
        double rate = low + (high - low) * (1 + cos(acos(-1) * part)) / 2;
        double logged = logged_rate("q.jsonl", epoch);
        if (!(fabs(logged / rate - 1) < 1e-3))
            fail_msg("epoch %d: %g, not %g", epoch, logged, rate);
    }
}

static void assert_recipe(const char *file, const char *optimizer, double rate) {
    must("inspect %s --json", file);
    json_t *json = printed_json();
    const json_t *options = json_object_get(json_object_get(json, "training"), "options");
    assert_string_equal(member_text(options, "optimizer"), optimizer);
    assert_true(fabs(member_number(options, "lr") / rate - 1) < 1e-6);
    json_decref(json);
}

/* An optimizer has a rate that suits it, and fine-tuning goes on with the training's. */
static void optimizers_have_defaults(void **state) {
    (void)state;
    const char *train = "train --model tiny.net --data data --epochs 1 -q";
    must("%s -o s.st", train);
    assert_recipe("s.st", "sgd", 0.02);
    must("%s --optimizer adamw -o a.st", train);
    assert_recipe("a.st", "adamw", 0.001);
    must("calibrate a.st --data data -o ac.st -q");
    must("finetune ac.st --data data -o aq.st -q");
    assert_recipe("aq.st", "adamw", 0.00001);
    must("finetune ac.st --data data --optimizer sgd --lr 0.002 -o aq.st -q");
    assert_recipe("aq.st", "sgd", 0.002);
    refused(2, "--nesterov: adamw", "%s --optimizer adamw --nesterov -o x.st", train);
    refused(2, "--momentum: of adamw", "%s --optimizer adamw --momentum 1 -o x.st", train);
    assert_false(file_exists("x.st"));
}

/* Evaluating has no side effects: not on the file, not on what comes next. */
static void evaluation_changes_nothing(void **state) {
    (void)state;
    must("calibrate f.st --data data -o c.st -q");
    must("calibrate f.st --data data -o before.st -q");
    must("eval c.st --data data --predictions a.csv");
    must("verify c.st --data data");
    must("eval c.st --data data --predictions b.csv");
    assert_true(same_bytes("a.csv", "b.csv") && same_bytes("c.st", "before.st"));
}

/* --- parameters that stay --- */

/* Are all numbers of the parameter the same in both files? */
static bool same_parameter(const char *file, const char *other, const char *node,
                           const char *name) {
    Error error = {0};
    Model *a = model_load(file, &error), *b = model_load(other, &error);
    if (!a || !b) fail_msg("%s", error.message);
    const Tensor *x = node_tensor(graph_find(a->graph, node), name);
    const Tensor *y = node_tensor(graph_find(b->graph, node), name);
    bool same = memcmp(x->data, y->data, x->count * sizeof *x->data) == 0;
    model_free(a);
    model_free(b);
    return same;
}

/* What the patterns name stays, all else learns, and a resumed run keeps the same. */
static void parameters_are_kept_by_name(void **state) {
    (void)state;
    must("calibrate f.st --data data -o c.st -q");
    const char *common = "--data data --batch 16 --lr 0.01 --schedule constant -q";
    must("finetune c.st %s --epochs 2 --keep 'conv1.*,*.bias,bn1.b*' -o k.st", common);
    assert_true(same_parameter("c.st", "k.st", "conv1", "weight"));
    assert_true(same_parameter("c.st", "k.st", "bn1", "bias"));
    assert_true(same_parameter("c.st", "k.st", "fc", "bias"));
    assert_false(same_parameter("c.st", "k.st", "bn1", "weight"));
    assert_false(same_parameter("c.st", "k.st", "fc", "weight"));
    must("finetune c.st %s --epochs 1 --keep 'conv1.*,*.bias,bn1.b*' -o parts.st", common);
    must("finetune --resume parts.st --epochs 2 -q");
    assert_true(same_bytes("k.st", "parts.st"));
    must("train --model tiny.net %s --epochs 1 --keep '*.weight,?c.*s' -o t.st", common);
    must("finetune c.st %s --epochs 1 --learn-ranges lsq --keep '*.scale' -o s.st", common);
    must("finetune c.st %s --epochs 1 --learn-ranges lsq --bn batch --keep 'conv1.*,bn1.*' -o s.st",
         common);
    refused(2, "no trainable parameter of tiny.net matches \"conv2.*\"",
            "finetune c.st %s --keep 'conv2.*' -o x.st", common);
    refused(2, "no trainable parameter", "finetune c.st %s --keep bn1.running_var -o x.st", common);
    refused(2, "nothing is left to train", "finetune c.st %s --keep '*' -o x.st", common);
    assert_false(file_exists("x.st"));
}

/* A rate of nothing keeps a parameter, one of half the rate is a run at half the rate. */
static void parameters_have_rates_by_name(void **state) {
    (void)state;
    const char *common = "train --model tiny.net --data data --batch 16 --schedule constant -q";
    must("%s --epochs 0 -o start.st", common);
    must("%s --epochs 1 --lr 0.02 --rates '*=0.5' -o half.st", common);
    must("%s --epochs 1 --lr 0.01 -o whole.st", common);
    assert_true(same_parameter("half.st", "whole.st", "conv1", "weight"));
    assert_true(same_parameter("half.st", "whole.st", "fc", "bias"));
    for (int i = 0; i < 2; i++) {
        must("%s --epochs 2 --lr 0.01 --optimizer %s --rates '*=2,conv1.*=0,*.bias=0' -o r.st",
             common, i ? "adamw" : "sgd");
        assert_true(same_parameter("start.st", "r.st", "conv1", "weight"));
        assert_true(same_parameter("start.st", "r.st", "fc", "bias"));
        assert_false(same_parameter("start.st", "r.st", "fc", "weight"));
    }
    must("%s --epochs 1 --lr 0.01 --optimizer adamw --rates '*=2,conv1.*=0,*.bias=0' -o parts.st",
         common);
    must("train --resume parts.st --epochs 2 -q");
    assert_true(same_bytes("r.st", "parts.st"));
    static const char *const wrong[][2] = {{"conv1.*", "expected NAME=FACTOR"},
                                           {"conv1.*=", "expected NAME=FACTOR"},
                                           {"*=nan", "expected NAME=FACTOR"},
                                           {"*=0.5,,", "expected NAME=FACTOR"},
                                           {"*=-1", "expected NAME=FACTOR"},
                                           {"*=1,conv9.*=0.5", "no trainable parameter"},
                                           {"bn1.running_var=1", "no trainable parameter"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        refused(2, wrong[i][1], "%s --epochs 1 --rates '%s' -o x.st", common, wrong[i][0]);
    assert_false(file_exists("x.st"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(methods_need_no_data_again),
        cmocka_unit_test(compare_is_the_table_of_methods),
        cmocka_unit_test(compare_needs_histograms),
        cmocka_unit_test(a_graph_is_read_up_to_a_value),
        cmocka_unit_test(finetune_follows_the_recipe),
        cmocka_unit_test(optimizers_have_defaults),
        cmocka_unit_test(evaluation_changes_nothing),
        cmocka_unit_test(parameters_are_kept_by_name),
        cmocka_unit_test(parameters_have_rates_by_name),
    };
    return cmocka_run_group_tests(tests, setup, program_teardown);
}
