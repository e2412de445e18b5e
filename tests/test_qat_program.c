/* Fine-tuning with learned ranges and moving statistics through the program: resumed runs,
 * verification, options. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "quant/model.h"
#include "tests/program.h"

/* A small calibrated net of 3 bits in c.st. */
static int setup(void **state) {
    if (program_setup(state) != 0) return -1;
    write_nets();
    write_idx("data", 256, 64);
    return shell("\"$STAIR\" train --model tiny.net --data data --epochs 2 -o f.st -q && "
                 "\"$STAIR\" calibrate f.st --data data --bits 3 --weight-bits 3 -o c.st -q");
}

static Model *load(const char *name) {
    Error error = {0};
    Model *model = model_load(name, &error);
    if (!model) fail_msg("%s", error.message);
    return model;
}

/* The file of a run in two parts is that of a run in one, whatever is learned or moves; it verifies
 * without a mismatch, and freezes. */
static void a_resumed_run_has_the_same_bytes(void **state) {
    (void)state;
    static const char *const modes[] = {
        "--learn-ranges lsq --bn running --freeze-bn-after 1.5",
        "--learn-ranges pact --bn batch --ste range",
        "--freeze-observers-after 1.25 --ste none",
    };
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        const char *common = "--data data --batch 16 --lr 0.01 --schedule constant -q";
        must("finetune c.st %s %s --epochs 2 -o whole.st", common, modes[i]);
        must("finetune c.st %s %s --epochs 1 -o parts.st", common, modes[i]);
        must("finetune --resume parts.st --epochs 2 -q");
        assert_true(same_bytes("whole.st", "parts.st"));
        must("verify whole.st --data data");
        must("freeze whole.st -o i.st -q");
        must("verify i.st --data data");
    }
    refused(2, "--ste", "finetune --resume whole.st --ste code --epochs 3 -q");
}

static float scale_in(const char *file, int quantizer) {
    Model *model = load(file);
    float scale = model->quant->quantizer[quantizer]->q.scale[0];
    model_free(model);
    return scale;
}

static void options_of_ranges(void **state) {
    (void)state;
    const char *common = "finetune c.st --data data --epochs 1 --lr 0.01 -q";
    float calibrated = scale_in("c.st", 1);
    must("%s --fixed-scales -o fixed.st", common);
    assert_true(scale_in("fixed.st", 1) == calibrated);
    must("%s --freeze-observers-after 0 -o zero.st", common);
    assert_true(scale_in("zero.st", 1) == calibrated);
    must("%s -o moving.st", common);
    assert_true(scale_in("moving.st", 1) != calibrated);
    refused(2, "--fixed-scales", "%s --fixed-scales --learn-ranges lsq -o no.st", common);

    /* learned scales are in the file under the names that scales have, and go on learning in the
     * next run */
    must("%s --learn-ranges lsq -o lsq.st", common);
    Model *model = load("lsq.st");
    assert_string_equal(model->quant->config.learn->name, "lsq");
    assert_non_null(safetensors_find(model->file, "conv1.weight_fake_quant.scale"));
    assert_non_null(
        safetensors_find(model->file, "optimizer.momentum_buffer.conv1.weight_fake_quant.scale"));
    assert_non_null(safetensors_find(model->file,
                                     "optimizer.momentum_buffer.fc.activation_post_process.scale"));
    model_free(model);
    float learned = scale_in("lsq.st", 1);
    assert_true(learned != calibrated);
    must("finetune lsq.st --data data --epochs 1 --lr 0.01 -q -o again.st");
    assert_true(scale_in("again.st", 1) != learned);
    refused(2, "", "finetune lsq.st --data data --epochs 1 --learn-ranges pact -q -o no.st");
    refused(2, "", "finetune lsq.st --data data --epochs 1 --fixed-scales -q -o no.st");
}

/* Logits of 1e-12 at calibration: their scale stays (--fixed-scales) while one step of training
 * makes weights of a usual size. M = S_x S_w / S_y, about 1e-2 1e-3 / 1e-14, is beyond 2^30, the
 * largest that m0 2^-n can be (N6). */
static void write_tiny_logits(const char *name) {
    file_text("line.net", "x = input shape=1x12x12\nf = flatten x\nfc = linear f out=4\n");
    must("train --model line.net --data data --epochs 0 -o line.st -q");
    Model *model = load("line.st");
    const Node *fc = graph_find(model->graph, "fc");
    Tensor *weight = node_tensor(fc, "weight"), *bias = node_tensor(fc, "bias");
    for (size_t i = 0; i < weight->count; i++) weight->data[i] *= 1e-12f;
    for (size_t i = 0; i < bias->count; i++) bias->data[i] = 0;
    Error error = {0};
    if (!model_save(model, "small.st", 0, NULL, &error)) fail_msg("%s", error.message);
    model_free(model);
    must("calibrate small.st --data data -o %s -q", name);
}

/* What integers cannot hold is found at the end of the epoch, before the file is written; the net
 * has not diverged. */
static void a_net_that_integers_cannot_hold_is_not_saved(void **state) {
    (void)state;
    write_tiny_logits("big.st");
    const char *common = "finetune big.st --data data --batch 256 --epochs 1 --fixed-scales -q";
    must("%s --lr 0 -o good.st", common); /* as it is it can be held */
    must("%s --lr 0 -o kept.st", common);
    refused(3, "fc: output 0: a scale ratio of ", "%s --lr 1 -o good.st", common);
    assert_true(same_bytes("good.st", "kept.st"));
    refused(3, "fc: output 0: a scale ratio of ", "%s --lr 1 -o bad.st", common);
    assert_false(file_exists("bad.st"));
    assert_no_temporaries();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_resumed_run_has_the_same_bytes),
        cmocka_unit_test(options_of_ranges),
        cmocka_unit_test(a_net_that_integers_cannot_hold_is_not_saved),
    };
    return cmocka_run_group_tests(tests, setup, program_teardown);
}
