/* Which layers need more bits: `stair sensitivity`, the search for mixed precision, and evaluation
 * with layers in float. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "tests/faint.h"
#include "train/mixed.h"

static void test_measures(void **state) {
    (void)state;
    must("calibrate float --data . --weight-bits 8 --images 64 -q -o cal");
    Error error = {0};
    Model *model = model_load("cal", &error);
    Dataset *data = dataset_open(".", false, 0, &error);
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
    must("sensitivity float --data . --split test --images 64 --bits 2 "
         "--weight-bits 2 --drop 0.02 -q"
         " --json --write-config mixed.json");
    json_t *table = printed_json();
    assert_int_equal(json_array_size(json_object_get(table, "layers")), 4);
    double accuracy = member_number(table, "float");
    assert_true(member_number(json_object_get(table, "all"), "accuracy") <
                accuracy - 0.02); /* there is something to do */
    must("calibrate float --data . --images 64 --config mixed.json -q -o mixed");
    must("eval mixed --data . --json");
    json_t *result = printed_json();
    assert_true(member_number(result, "accuracy") >= accuracy - 0.02);
    must("freeze mixed -q -o frozen");
    json_decref(result);
    json_decref(table);

    /* a budget of bytes: 4 bits for all weights would be 663, 2 bits are 332 */
    must("sensitivity float --data . --images 64 --bits 2 --weight-bits 2 --size 600 -q --json"
         " --write-config small.json");
    json_t *config = json_load_file("small.json", 0, NULL);
    int64_t bytes = 0;
    static const struct {
        const char *name;
        int weights;
    } layers[] = {{"c1", FAINT_C1}, {"h", FAINT_H}, {"fc", FAINT_FC}};
    for (int i = 0; i < 3; i++) {
        const json_t *layer = json_object_get(json_object_get(config, "overrides"), layers[i].name);
        int bits = (int)member_number(json_object_get(layer, "weight"), "bits");
        assert_in_range(bits, 2, 8);
        bytes += (layers[i].weights * bits + 7) / 8;
    }
    assert_in_range(bytes, 332 + 1, 600); /* something was given, within the budget */
    json_decref(config);
    assert_int_equal(
        stair("sensitivity float --data . --images 64 --weight-bits 4 --size 100 -q --json"
              " --write-config none.json"),
        3); /* the table is printed before */
    assert_non_null(strstr(printed.err, "begin with fewer --weight-bits"));
    refused(3, "looks at a float or a calibrated one", "sensitivity frozen --data . -q");
    refused(2, "--method: mixed is calibrated", "sensitivity mixed --data . --method mse -q");
}

static void test_disable_quant(void **state) {
    (void)state;
    must("calibrate float --data . --weight-bits 2 --bits 2 --images 64 -q -o two");
    must("eval two --data . --json");
    json_t *two = printed_json();
    must("eval two --data . --json --disable-quant x,c1,h,fc");
    json_t *none = printed_json();
    must("eval float --data . --json");
    json_t *real = printed_json();
    assert_true(member_number(none, "accuracy") ==
                member_number(real, "accuracy")); /* nothing is rounded: the float net */
    assert_true(member_number(two, "accuracy") < member_number(none, "accuracy"));
    refused(2, "--disable-quant: ", "eval two --data . --disable-quant c2");
    refused(2, "--disable-quant: r1", "eval two --data . --disable-quant r1");
    refused(3, "--disable-quant is for calibrated", "eval float --data . --disable-quant c1");
    json_decref(two);
    json_decref(none);
    json_decref(real);
}

/* A net with a float layer is calibrated, fine-tuned and evaluated; freezing and verifying it are
 * refused. */
static void test_float_layer_all_the_way(void **state) {
    (void)state;
    file_text("float.json",
              "{\"weight\": {\"bits\": 4, \"symmetric\": false}, \"overrides\": {\"fc\": null}}");
    must("calibrate float --data . --config float.json --images 64 -q -o part");
    must("finetune part --data . --epochs 1 --batch 16 -q -o part.qat");
    must("eval part.qat --data . --json");
    json_t *json = printed_json();
    assert_true(member_number(json, "accuracy") > 0.8);
    json_decref(json);
    must("inspect part.qat");
    assert_non_null(strstr(printed.out, "no program: fc stays float"));
    refused(3, "fc stays float", "freeze part.qat -q -o nothing");
    assert_false(file_exists("nothing"));
    refused(3, "fc stays float", "verify part.qat --data .");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measures),
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_disable_quant),
        cmocka_unit_test(test_float_layer_all_the_way),
    };
    return cmocka_run_group_tests(tests, faint_setup, program_teardown);
}
