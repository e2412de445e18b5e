#include "tests/program.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/scratch.h"

enum { SECONDS = 120, LINE = 4096, HEADER = 16 };
#define OUT "standard-output"
#define ERR "standard-error"

Printed printed;

int program_setup(void **state) {
    const char *name = getenv("STAIR");
    char path[PATH_MAX];
    if (!realpath(name ? name : "build/stair", path)) {
        print_error("no program; name it: STAIR=build/stair\n");
        return -1;
    }
    if (setenv("STAIR", path, 1) != 0 || scratch_make(state) != 0) return -1;
    return chdir(scratch_path(""));
}

int program_teardown(void **state) {
    free(printed.out);
    free(printed.err);
    printed = (Printed){0};
    return chdir("/") == 0 ? scratch_remove(state) : -1;
}

/* ---- running ---- */

static void onto(int descriptor, const char *path) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (file < 0 || dup2(file, descriptor) < 0) _exit(127);
    close(file);
}

static pid_t start(const char *line) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) return pid;
    onto(STDOUT_FILENO, OUT);
    onto(STDERR_FILENO, ERR);
    alarm(SECONDS); /* outlives exec */
    execl("/bin/sh", "sh", "-c", line, (char *)NULL);
    _exit(127);
}

int stair_finish(pid_t pid) {
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    free(printed.out);
    free(printed.err);
    printed = (Printed){file_bytes(OUT, NULL), file_bytes(ERR, NULL)};
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void format_line(char line[LINE], const char *before, const char *format, va_list args) {
    int used = snprintf(line, LINE, "%s", before);
    assert_true(vsnprintf(line + used, (size_t)(LINE - used), format, args) < LINE - used);
}

#define FORMAT_LINE(line, before, format)                                                          \
    do {                                                                                           \
        va_list args_;                                                                             \
        va_start(args_, format);                                                                   \
        format_line(line, before, format, args_);                                                  \
        va_end(args_);                                                                             \
    } while (0)

static const char *const program = "exec \"$STAIR\" ";

int shell(const char *format, ...) {
    char line[LINE];
    FORMAT_LINE(line, "", format);
    return stair_finish(start(line));
}

int stair(const char *format, ...) {
    char line[LINE];
    FORMAT_LINE(line, program, format);
    return stair_finish(start(line));
}

pid_t stair_start(const char *format, ...) {
    char line[LINE];
    FORMAT_LINE(line, program, format);
    return start(line);
}

void must(const char *format, ...) {
    char line[LINE];
    FORMAT_LINE(line, program, format);
    int status = stair_finish(start(line));
    if (status) fail_msg("%s\nended with %d: %s", line, status, printed.err);
}

void refused(int status, const char *fragment, const char *format, ...) {
    char line[LINE];
    FORMAT_LINE(line, program, format);
    int got = stair_finish(start(line));
    const char *newline = strchr(printed.err, '\n');
    bool one_line = newline && (newline[1] == '\0' || newline[-1] == ':'); /* or a list follows */
    if (got != status || !one_line || strncmp(printed.err, "stair: ", 7) != 0 ||
        !strstr(printed.err, fragment) || *printed.out)
        fail_msg("%s\nexpected status %d and \"%s\", got %d: %s%s", line, status, fragment, got,
                 printed.out, printed.err);
}

/* ---- results ---- */

json_t *printed_json(void) {
    json_error_t reason;
    const char *newline = strchr(printed.out, '\n');
    assert_true(newline && newline[1] == '\0');
    json_t *json = json_loads(printed.out, JSON_REJECT_DUPLICATES, &reason);
    if (!json_is_object(json)) fail_msg("%s: %s", reason.text, printed.out);
    return json;
}

void assert_keys(const json_t *object, const char *keys) {
    char text[1024] = "";
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%s", used ? " " : "", key);
    }
    assert_string_equal(text, keys);
}

char *file_bytes(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    struct stat status;
    assert_int_equal(fstat(fileno(file), &status), 0);
    size_t count = (size_t)status.st_size;
    char *bytes = malloc(count + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, count, file), count);
    fclose(file);
    bytes[count] = '\0';
    if (size) *size = count;
    return bytes;
}

void file_put(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

void file_text(const char *path, const char *text) {
    file_put(path, text, strlen(text));
}

bool file_exists(const char *path) {
    struct stat status;
    return lstat(path, &status) == 0;
}

bool same_bytes(const char *path, const char *other) {
    size_t size, other_size;
    char *a = file_bytes(path, &size), *b = file_bytes(other, &other_size);
    assert_true(a && b);
    bool same = size == other_size && memcmp(a, b, size) == 0;
    free(a);
    free(b);
    return same;
}

void assert_no_temporaries(void) {
    DIR *folder = opendir(".");
    assert_non_null(folder);
    for (const struct dirent *entry; (entry = readdir(folder));)
        if (strstr(entry->d_name, ".tmp")) fail_msg("%s is left", entry->d_name);
    closedir(folder);
}

/* ---- data ---- */

/* Numbers of 16 bits that look random: Knuth's linear congruential generator, its upper half. */
static unsigned noise(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 16;
}

static void put_u32(uint8_t *bytes, uint32_t value) {
    for (int i = 0; i < 4; i++) bytes[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void write_split(const char *folder, const char *split, int count) {
    enum { PIXELS = IDX_SIDE * IDX_SIDE, LABELS_HEADER = 8 };
    uint8_t *images = malloc((size_t)(HEADER + count * PIXELS));
    uint8_t *labels = malloc((size_t)(LABELS_HEADER + count));
    uint32_t state = (uint32_t)count;
    assert_true(images && labels);
    put_u32(images, 0x803), put_u32(images + 4, (uint32_t)count);
    put_u32(images + 8, IDX_SIDE), put_u32(images + 12, IDX_SIDE);
    put_u32(labels, 0x801), put_u32(labels + 4, (uint32_t)count);
    for (int i = 0; i < count; i++) {
        int label = (int)(noise(&state) % IDX_CLASSES);
        labels[LABELS_HEADER + i] = (uint8_t)label;
        for (int p = 0; p < PIXELS; p++) {
            int quarter = p / IDX_SIDE / (IDX_SIDE / 2) * 2 + p % IDX_SIDE / (IDX_SIDE / 2);
            images[HEADER + i * PIXELS + p] =
                (uint8_t)(noise(&state) % 70 + (quarter == label ? 180 : 0));
        }
    }
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s-images-idx3-ubyte", folder, split);
    file_put(path, images, (size_t)(HEADER + count * PIXELS));
    snprintf(path, sizeof path, "%s/%s-labels-idx1-ubyte", folder, split);
    file_put(path, labels, (size_t)(LABELS_HEADER + count));
    free(images);
    free(labels);
}

void write_idx(const char *folder, int train, int test) {
    mkdir(folder, 0777);
    write_split(folder, "train", train);
    write_split(folder, "t10k", test);
}

void write_nets(void) {
    file_text("tiny.net", "x     = input shape=1x12x12\n"
                          "conv1 = conv2d x out=4 kernel=3\n"
                          "bn1   = batchnorm conv1\n"
                          "relu1 = relu bn1\n"
                          "pool1 = maxpool relu1 kernel=2\n"
                          "flat  = flatten pool1\n"
                          "fc    = linear flat out=4\n");
    file_text("residual.net", "x     = input shape=1x12x12\n"
                              "conv1 = conv2d x out=4 kernel=3 padding=1\n"
                              "bn1   = batchnorm conv1\n"
                              "relu1 = relu bn1\n"
                              "conv2 = conv2d relu1 out=4 kernel=3 padding=1\n"
                              "add1  = add conv2 relu1\n"
                              "relu2 = relu add1\n"
                              "pool1 = avgpool relu2 kernel=2\n"
                              "flat  = flatten pool1\n"
                              "drop  = dropout flat p=0.25\n"
                              "fc    = linear drop out=4\n");
}

/* ---- results ---- */

double member_number(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

const char *member_text(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_string(value));
    return json_string_value(value);
}

void must_verify(const char *file) {
    must("verify %s --data data --json", file);
    json_t *json = printed_json(), *layer;
    assert_keys(json, "images codes mismatched_codes max_difference argmax_differs layers");
    assert_true(member_number(json, "images") == 64 &&
                member_number(json, "mismatched_codes") == 0);
    assert_true(member_number(json, "max_difference") == 0 &&
                member_number(json, "argmax_differs") == 0);
    double codes = 0;
    size_t i;
    json_array_foreach(json_object_get(json, "layers"), i, layer) {
        assert_keys(layer, "name codes mismatched_codes max_difference");
        codes += member_number(layer, "codes");
    }
    assert_true(codes > 0 && codes == member_number(json, "codes"));
    json_decref(json);
    must("verify %s --data data --limit 3", file);
    assert_non_null(strstr(printed.out, "predictions that differ: 0 of 3"));
}

double accuracy_of(const char *file) {
    must("eval %s --data data --json", file);
    json_t *json = printed_json();
    double value = member_number(json, "accuracy");
    json_decref(json);
    return value;
}

int program_stages(void **state) {
    if (program_setup(state) != 0) return -1;
    write_nets();
    write_idx("data", 64, 32);
    mkdir("folder", 0777);
    return shell("set -e; for c in 'train --model tiny.net --data data --epochs 1 -o float.st' "
                 "'calibrate float.st --data data -o calibrated.st' "
                 "'finetune calibrated.st --data data --epochs 1 -o qat.st' "
                 "'freeze qat.st -o frozen.st'; do \"$STAIR\" $c; done");
}
