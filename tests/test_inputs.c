/* The program given broken files: checkpoints, data sets, nets. Exit status 3, one line that names
 * the file and the reason, and no output. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "quant/model.h"
#include "tests/program.h"
#include "tests/scratch.h"

/* ---- files that come in ---- */

static void refuses_what_is_no_model(void **state) {
    (void)state;
    assert_int_equal(mkfifo("fifo", 0666), 0);
    assert_int_equal(symlink("loop", "loop"), 0);
    file_text("empty.st", "");
    file_put("picture.st", "\x89PNG\r\n\x1a\n........", 16);
    file_put("pickle.st", "\x80\x02}q\x01.........", 14);
    file_put("archive.st", "PK\3\4............", 16);
    static const struct {
        int status;
        const char *name, *reason;
    } files[] = {
        {1, "missing.st", "No such file or directory"},
        {1, "folder", "not a regular file"},
        {1, "fifo", "not a regular file"},
        {1, "loop", "Too many levels of symbolic links"},
        {1, "/dev/null", "not a regular file"},
        {1, "float.st/x", "Not a directory"},
        {3, "empty.st", "too short"},
        {3, "picture.st", "this is a PNG image"},
        {3, "pickle.st", "pickle"},
        {3, "archive.st", "archive"},
        {3, "tiny.net", "header"},
    };
    static const char *const commands[] = {"eval %s", "freeze %s -o x.st", "inspect %s --json",
                                           "train --resume %s"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        for (size_t k = 0; k < sizeof commands / sizeof *commands; k++) {
            char line[64], fragment[64];
            snprintf(line, sizeof line, commands[k], files[i].name);
            snprintf(fragment, sizeof fragment, "stair: %s: ", files[i].name);
            refused(files[i].status, files[i].reason, "%s", line);
            assert_memory_equal(printed.err, fragment, strlen(fragment));
        }
    refused(1, "File name too long", "eval $(printf '%%0300d' 7)");
    refused(1, "File name too long", "eval $(printf '%%05000d' 7)");
    assert_false(file_exists("x.st"));
}

/* What `stair inspect` does with a file, in this process: fast enough for every byte. */
static ErrorCode open_model(const char *path, Error *error) {
    *error = (Error){0};
    Model *model = model_load(path, error);
    if (model && model->quant && quant_integral(model->quant, NULL))
        program_free(model_program(model, error));
    model_free(model);
    return error->code;
}

/* What is wrong with a damaged file, if anything is, is told by name. The program itself is shown
 * some of them. */
static void check_damaged(const char *path, bool may_be_sound, bool show, const char *bytes,
                          size_t size) {
    Error error;
    ErrorCode code = open_model(path, &error);
    bool sound = may_be_sound && code == ERROR_NONE;
    if (!sound && (code != ERROR_INPUT || !strstr(error.message, path)))
        fail_msg("%zu bytes: %d, %s", size, code, error.message);
    if (!show) return;
    file_put("damaged.st", bytes, size);
    if (sound)
        must("inspect damaged.st");
    else
        refused(3, "damaged.st: ", "inspect damaged.st --json");
}

/* Flips a bit of every byte, then cuts the file to every length. The copy lies in memory: a disk
 * would make minutes of it. */
static void survives_damage(const char *original) {
    enum { SHOWN = 211 /* a prime, to meet every kind of byte */ };
    size_t size;
    char *bytes = file_bytes(original, &size), path[64];
    int file = memfd_create("damaged", MFD_CLOEXEC);
    assert_true(file >= 0 && write(file, bytes, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    for (size_t at = 0; at < size; at++) {
        bytes[at] ^= 1 << at % 8;
        assert_int_equal(pwrite(file, bytes + at, 1, (off_t)at), 1);
        check_damaged(path, true, at % SHOWN == 0, bytes, size);
        bytes[at] ^= 1 << at % 8;
        assert_int_equal(pwrite(file, bytes + at, 1, (off_t)at), 1);
    }
    for (size_t cut = size; cut-- > 0;) {
        assert_int_equal(ftruncate(file, (off_t)cut), 0);
        check_damaged(path, false, cut % SHOWN == 0, bytes, cut);
    }
    close(file);
    free(bytes);
}

static void survives_damaged_files(void **state) {
    (void)state;
    survives_damage("float.st");
    survives_damage("qat.st");
    survives_damage("frozen.st");
}

static void refuses_stages_that_make_no_sense(void **state) {
    (void)state;
    static const struct {
        const char *command, *advice;
    } trials[] = {
        {"freeze float.st -o x.st", "stage float; calibrate it first: stair calibrate"},
        {"finetune float.st -o x.st", "stage float; calibrate it first: stair calibrate"},
        {"verify float.st --data data", "stage float; calibrate it first: stair calibrate"},
        {"calibrate qat.st --data data -o x.st", "calibration begins with a float"},
        {"calibrate frozen.st --data data -o x.st", "calibration begins with a float"},
        {"finetune frozen.st --data data -o x.st", "take the file that was frozen"},
        {"train --resume calibrated.st", "it has no training to resume"},
        {"train --resume qat.st", "to go on with it: stair finetune --resume"},
        {"train --resume frozen.st", "it has no training to resume"},
        {"finetune --resume float.st", "calibrate it first"},
        {"finetune --resume calibrated.st", "it has no fine-tuning to resume"},
        {"finetune --resume frozen.st", "take the file that was frozen"},
        {"bench train frozen.st", "a frozen net cannot be trained"},
    };
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++)
        refused(3, trials[i].advice, "%s", trials[i].command);
    assert_false(file_exists("x.st"));
}

/* ---- data ---- */

/* Trains with broken/NAME made of these bytes; puts the sound file back. */
static void refused_data(const char *name, const void *bytes, size_t size, const char *reason) {
    char path[64];
    size_t sound_size;
    snprintf(path, sizeof path, "broken/%s", name);
    char *sound = file_bytes(path, &sound_size);
    file_put(path, bytes, size);
    refused(3, path, "train --model tiny.net --data broken -o x.st");
    assert_non_null(strstr(printed.err, reason));
    assert_false(file_exists("x.st"));
    file_put(path, sound, sound_size);
    free(sound);
}

static void refuses_broken_data(void **state) {
    (void)state;
    const char *images = "train-images-idx3-ubyte", *labels = "train-labels-idx1-ubyte";
    size_t size;
    write_idx("broken", 64, 32);
    char *bytes = file_bytes("broken/train-images-idx3-ubyte", &size);
    refused_data(images, "", 0, "is empty");
    refused_data(images, bytes, size - 1, "is too short");
    refused_data(images, "not an IDX file", 15, "is not an IDX file");
    refused_data(labels, bytes, size, "which is a file of images");
    bytes[7] ^= 1; /* one image less, or more, than labels */
    refused_data(images, bytes, size, "is too");
    refused_data(images, bytes, size - IDX_SIDE * IDX_SIDE, "is too");
    free(bytes);

    bytes = file_bytes("broken/train-labels-idx1-ubyte", &size);
    bytes[8 + 5] = 4;
    char path[64] = "broken/train-labels-idx1-ubyte";
    file_put(path, bytes, size);
    refused(3, "broken/train-images-idx3-ubyte: image 5 has label 4, tiny.net has outputs 0 to 3",
            "train --model tiny.net --data broken -o x.st");
    must("train --model tiny.net --data broken --limit 5 --epochs 1 -o five.st"); /* it is not used
                                                                                   */
    bytes[8 + 5] = 0;
    file_put(path, bytes, size);
    bytes[7]--;
    refused_data("train-labels-idx1-ubyte", bytes, size - 1, "has 63 labels");
    free(bytes);

    refused(3, "has images of 1x12x12, mlp takes 1x28x28", "train --model mlp --data data -o x.st");
    refused(1, "folder: has no data set; tried", "eval float.st --data folder");
    refused(1, "nowhere: No such file", "eval float.st --data nowhere");
    refused(1, "tiny.net: is not a folder", "eval float.st --data tiny.net");
    assert_int_equal(shell("mkdir zipped; gzip -c data/t10k-images-idx3-ubyte | head -c 900 "
                           ">zipped/t10k-images-idx3-ubyte.gz; cp data/t10k-labels* zipped"),
                     0);
    refused(3, "zipped/t10k-images-idx3-ubyte.gz", "eval float.st --data zipped");
    assert_false(file_exists("x.st"));
}

static void refuses_broken_nets(void **state) {
    (void)state;
    static const struct {
        const char *text, *place;
    } nets[] = {
        {"", "wrong.net:"},
        {"x = input shape=1x12x12\ny = cov2d x out=3 kernel=3\n",
         "wrong.net:2:5: unknown layer 'cov2d', "
         "did you mean 'conv2d'?"},
        {"x = input shape=1x12x12\ny = conv2d x out=3 kernel=30\n", "wrong.net:2:"},
        {"x = input shape=1x12x12\n\n# here\ny = relu z\n", "wrong.net:4:10: "},
        {"x = input shape=1x12x12\nx = relu x\n", "wrong.net:2:1: "},
        {"x = input shape=1x12x12\ny = linear x out=4 colour=red\n", "wrong.net:2:20: "},
        {"x = input shape=0x12x12\n", "wrong.net:1:"},
        {"x = input shape=1x12x12\ny = linear x\n", "wrong.net:2:"},
        {"hello", "wrong.net:1:"},
    };
    for (size_t i = 0; i < sizeof nets / sizeof *nets; i++) {
        file_text("wrong.net", nets[i].text);
        refused(3, nets[i].place, "train --model wrong.net --data data -o x.st");
    }
    refused(1, "missing.net: No such file", "train --model missing.net -o x.st");
    refused(1, "folder.net: not a regular file",
            "train --model $(mkdir -p folder.net; echo folder.net) -o x.st");
    assert_false(file_exists("x.st"));
    file_text("other.net", "\xef\xbb\xbfx = input shape=1x12x12\r\n\r\n# a comment\r\n"
                           "\tf = flatten x\r\ny = linear f out=4");
    must("train --model other.net --data data --epochs 1 -o other.st");
}

/* Names of files come from anywhere; a checkpoint holds UTF-8, and a terminal is spared. */
static void takes_any_name(void **state) {
    (void)state;
    static const char *const names[] = {"\xff\xfe", "\033[1m", "new\nline", " blank ",
                                        "Z\xc3\xbcrich"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char net[64], folder[64];
        snprintf(net, sizeof net, "%s.net", names[i]);
        snprintf(folder, sizeof folder, "%s.data", names[i]);
        file_text(net, "x = input shape=1x12x12\nf = flatten x\ny = linear f out=4\n");
        write_idx(folder, 16, 16);
        must("train --model '%s' --data '%s' --epochs 1 -o '%s.st'", net, folder, names[i]);
        must("inspect '%s.st' --json", names[i]);
        json_decref(printed_json());
        must("inspect '%s.st'", names[i]);
        assert_null(strchr(printed.out, '\033'));
        must("train --resume '%s.st' --epochs 2 --data '%s'", names[i], folder);
        assert_int_equal(stair("eval '%s.none'", names[i]), 1);
        assert_null(strchr(printed.err, '\033'));
    }
    file_text("\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4"
              "a-long-name-cut-after-sixty-three-bytes-amid-\xc3\xa4.net",
              "x = input shape=1x12x12\nf = flatten x\ny = linear f out=4\n");
    must("train --model *amid*.net --data data --epochs 1 -o long.st");
    must("inspect long.st --json");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_what_is_no_model),
        cmocka_unit_test(survives_damaged_files),
        cmocka_unit_test(refuses_stages_that_make_no_sense),
        cmocka_unit_test(refuses_broken_data),
        cmocka_unit_test(refuses_broken_nets),
        cmocka_unit_test(takes_any_name),
    };
    return cmocka_run_group_tests(tests, program_stages, program_teardown);
}
