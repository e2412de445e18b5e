/* Exported C equals the program, code for code: random nets of every instruction and width,
 * compiled here as C99 and as C++, and run on images that the export has not seen. */
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "quant/export/c/source.h"
#include "quant/export/c/writer.h"
#include "quant/export/export.h"
#include "tests/random_net.h"
#include "tests/scratch.h"

enum { NETS = 40, IMAGES = 6 };

#ifdef __SANITIZE_ADDRESS__
#define SANITIZE "-fsanitize=address,undefined -fno-sanitize-recover=all"
#else
#define SANITIZE "-fsanitize=undefined -fsanitize-undefined-trap-on-error"
#endif
#define STRICT "-O1 -Wall -Wextra -pedantic -Werror -ffreestanding " SANITIZE

/* What random nets have not: other ranks, transposed convolutions, no layer that does something. */
static const char *const special_nets[] = {
    "x = input shape=3x11\n"
    "a = conv1d x out=4 kernel=3 padding=3:1 dilation=2\n"
    "r.1 = relu a\n"
    "r-1 = conv_transpose1d r.1 out=4 kernel=4 stride=2 padding=1 groups=2\n"
    "r_1 = avgpool r-1 kernel=2 padding=1:0 count_include_pad=false\n",
    "x = input shape=2x4x5x6\n"
    "run = conv3d x out=4 kernel=2x3x2 stride=1x2x1 padding=1 groups=2\n"
    "b = batchnorm run\n"
    "c = conv_transpose3d b out=3 kernel=2x1x3 stride=2 padding=0x0x1 dilation=1x1x2\n"
    "p = maxpool c kernel=2 padding=1\n",
    "x = input shape=2x3x3\n"
    "a = conv_transpose2d x out=3 kernel=3 stride=3 output_padding=1\n"
    "r = relu6 a\n"
    "f = flatten r\n"
    "int = linear f out=7\n",
    "x = input shape=2x5x3\n"
    "d = dropout x\n",
};
enum { SPECIAL = sizeof special_nets / sizeof *special_nets };

static bool seen[64]; /* emitters by number, of the nets exported so far */

/* A frozen model; NULL if the net cannot be frozen. */
static Model *random_model(uint64_t number) {
    char text[RANDOM_NET_TEXT];
    Error error = {0};
    Rng rng = rng_stream(23, RNG_TEST, number);
    if (number < SPECIAL)
        snprintf(text, sizeof text, "%s", special_nets[number]);
    else
        random_net(&rng, text);
    Graph *graph = graph_parse(text, strlen(text), "random", &error);
    Model *model = graph ? model_new(graph, &error) : NULL;
    if (!model) fail_msg("%s\n%s", error.message, text);
    random_parameters(&rng, graph);
    QuantConfig config = random_config(&rng);
    config.weight.symmetric = rng_below(&rng, 3) > 0;
    model->pixels = random_normalization(&rng, graph->node[0].shape.dim[0]);
    if (!model_quantize(model, &config, &error)) fail_msg("%s", error.message);
    size_t count = shape_count(&graph->node[0].shape);
    uint8_t *pixels = malloc(IMAGES * count);
    float *x = malloc(IMAGES * count * sizeof *x);
    random_pixels(&rng, IMAGES, count, pixels);
    normalized(&model->pixels, IMAGES, count, pixels, x);
    calibrate_on(model->quant, IMAGES, x);
    free(pixels);
    free(x);
    if (model_freeze(model, &error)) return model;
    model_free(model);
    return NULL;
}

static void note_emitters(const Program *program) {
    for (int i = 0; i < program->instrs; i++)
        for (int k = 0; emitter_list[k]; k++)
            if (strcmp(emitter_list[k]->instr, program->instr[i].kind->name) == 0) seen[k] = true;
}

/* --- what the compiled library has --- */

typedef void CodesFromBytes(const uint8_t *pixels, uint8_t *in);
typedef void RunCodes(const uint8_t *in, uint8_t *out);
typedef int Selftest(void);

static void *symbol(void *library, int number, const char *name) {
    char text[64];
    snprintf(text, sizeof text, "n%d_%s", number, name);
    void *address = dlsym(library, text);
    if (!address) fail_msg("no %s", text);
    return address;
}

typedef struct Codes {
    const Value *of;
    uint8_t *bytes;
} Codes;

static void keep(void *context, const Value *value, int samples, const uint8_t *bytes) {
    const Codes *codes = context;
    if (value == codes->of) memcpy(codes->bytes, bytes, (size_t)samples * value->bytes);
}

static void compare(void *library, int number, Model *model) {
    Error error = {0};
    Program *program = model_program(model, &error);
    assert_non_null(program);
    note_emitters(program);
    Rng rng = rng_stream(29, RNG_TEST, (uint64_t)number);
    const Value *in = &program->value[0], *out = &program->value[program->output];
    Arena *arena = arena_new();
    uint8_t *pixels = arena_alloc(arena, IMAGES * in->bytes);
    uint8_t *codes = arena_alloc(arena, in->bytes), *result = arena_alloc(arena, out->bytes);
    float *logits = arena_alloc(arena, IMAGES * out->bytes * sizeof *logits);
    Codes expected = {out, arena_alloc(arena, IMAGES * out->bytes)};
    random_pixels(&rng, IMAGES, in->bytes, pixels);
    program_run(program, IMAGES, pixels, logits,
                arena_alloc(arena, program_scratch(program, IMAGES)), keep, &expected);
    CodesFromBytes *from_bytes = (CodesFromBytes *)symbol(library, number, "codes_from_bytes");
    RunCodes *run = (RunCodes *)symbol(library, number, "run");
    for (size_t i = 0; i < IMAGES; i++) {
        from_bytes(pixels + i * in->bytes, codes);
        run(codes, result);
        if (memcmp(result, expected.bytes + i * out->bytes, out->bytes) != 0)
            fail_msg("net %d, image %zu:\n%s", number, i, program_text(program, arena));
    }
    assert_int_equal(((Selftest *)symbol(library, number, "selftest"))(), 0);
    arena_free(arena);
    program_free(program);
}

static void run_line(const char *format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    assert_true(vsnprintf(line, sizeof line, format, args) < (int)sizeof line);
    va_end(args);
    if (system(line) != 0) fail_msg("%s", line);
}

static void equals_the_program(void **state) {
    (void)state;
    Model *model[NETS] = {NULL};
    int exported = 0;
    for (int i = 0; i < NETS; i++) {
        char name[16], prefix[16];
        Error error = {0};
        ExportReport report = {""};
        if (!(model[i] = random_model((uint64_t)i))) continue;
        snprintf(name, sizeof name, "n%d.c", i);
        snprintf(prefix, sizeof prefix, "n%d", i);
        ExportOptions options = {.prefix = prefix};
        if (!export_find("c", &error)
                 ->write(model[i], scratch_path(name), &options, &report, &error))
            fail_msg("%s", error.message);
        assert_non_null(strstr(report.text, "flash"));
        exported++;
    }
    assert_true(exported > NETS / 2);
    const char *folder = scratch_path("");
    run_line("cd %s && gcc -std=c99 %s -shared -fPIC n*.c -o nets.so", folder, STRICT);
    run_line("cd %s && g++ -x c++ %s -fsyntax-only n*.c", folder, STRICT);
    void *library = dlopen(scratch_path("nets.so"), RTLD_NOW | RTLD_LOCAL);
    if (!library) fail_msg("%s", dlerror());
    for (int i = 0; i < NETS; i++)
        if (model[i]) compare(library, i, model[i]);
    dlclose(library);
    for (int i = 0; i < NETS; i++) model_free(model[i]);
    for (int k = 0; emitter_list[k]; k++)
        if (!seen[k]) fail_msg("no net has the instruction %s", emitter_list[k]->instr);
}

/* A program whose self-test's result does not depend on its weights tests nothing. */
static void the_self_test_finds_a_changed_weight(void **state) {
    (void)state;
    Error error = {0};
    ExportReport report;
    Model *model = random_model(2);
    assert_non_null(model);
    ExportOptions options = {.prefix = "n0"};
    if (!export_find("c", &error)->write(model, scratch_path("t.c"), &options, &report, &error))
        fail_msg("%s", error.message);
    run_line("cd %s && sed '/int_bias\\[/,/}/ s/^    -*[0-9]*,/    1000000,/' t.c > u.c && ! cmp "
             "-s t.c u.c && "
             "gcc -std=c99 -shared -fPIC u.c -o u.so",
             scratch_path(""));
    void *library = dlopen(scratch_path("u.so"), RTLD_NOW | RTLD_LOCAL);
    if (!library) fail_msg("%s", dlerror());
    assert_int_not_equal(((Selftest *)symbol(library, 0, "selftest"))(), 0);
    dlclose(library);
    model_free(model);
}

/* --- refused --- */

static void every_instruction_has_its_c(void **state) {
    (void)state;
    for (int i = 0; instr_list[i]; i++) {
        if (!instr_list[i]->lower) continue; /* no instruction is ever made of that row */
        int k = 0;
        while (emitter_list[k] && strcmp(emitter_list[k]->instr, instr_list[i]->name) != 0) k++;
        if (!emitter_list[k]) fail_msg("%s has none", instr_list[i]->name);
    }
}

static void refuses_an_unknown_instruction(void **state) {
    (void)state;
    static const InstrKind dance = {.name = "dance"};
    Error error = {0};
    CSource source;
    Model *model = random_model(2);
    Program *program = model_program(model, &error);
    program->instr[2].kind = &dance;
    assert_false(c_source(model, program, "model.h", &source, &error));
    assert_error(&error, ERROR_INPUT, "f: the instruction dance has no C source");
    assert_null(source.code);
    c_source_free(&source);
    program_free(program);
    model_free(model);
}

static void refused(Model *model, const char *name, const char *prefix, ErrorCode code,
                    const char *fragment) {
    Error error = {0};
    ExportReport report = {""};
    ExportOptions options = {.prefix = prefix};
    assert_false(
        export_find("c", &error)->write(model, scratch_path(name), &options, &report, &error));
    assert_error(&error, code, fragment);
    assert_string_equal(report.text, "");
}

static void refuses_names(void **state) {
    (void)state;
    Model *model = random_model(0);
    static const char *const prefixes[] = {
        "", "1a", "_a", "a-b", "a b", "a;", "\xc3\xa4", "a23456789012345678901234567890123"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
        refused(model, "r.c", prefixes[i], ERROR_USAGE, "--prefix takes a C identifier");
    static const char *const names[] = {"r.h", "r", ".c", "r.cc", "a\"b.c", "a\nb.c", "a\\.c"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        refused(model, names[i], "model", ERROR_USAGE, "the name of C source ends in .c");
    refused(model, "no/r.c", "model", ERROR_IO, "no/r.h");
    model_free(model);
}

/* Where one of the two files cannot be written, neither is. */
static void leaves_nothing_behind(void **state) {
    (void)state;
    Model *model = random_model(0);
    run_line("cd %s && mkdir c.c h.h", scratch_path(""));
    refused(model, "c.c", "model", ERROR_IO, "c.c: not a regular file");
    refused(model, "h.c", "model", ERROR_IO, "h.h: not a regular file");
    run_line("cd %s && ! ls c.h h.c .*.tmp 2>/dev/null", scratch_path(""));
    model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_program),
        cmocka_unit_test(the_self_test_finds_a_changed_weight),
        cmocka_unit_test(every_instruction_has_its_c),
        cmocka_unit_test(refuses_an_unknown_instruction),
        cmocka_unit_test(refuses_names),
        cmocka_unit_test(leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
