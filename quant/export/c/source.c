/* The walk: each instruction adds what it calls to the runtime, its constants to the tables and a
 * call to P_run. */
#include "quant/export/c/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "quant/export/c/plan.h"
#include "quant/export/c/runtime/pixels.c" /* the self-test's inputs, as the exported program has them */

#define EMITTER(name) extern const CEmitter name##_emitter;
#include "quant/export/c/emitters.def"
#undef EMITTER

const CEmitter *const emitter_list[] = {
#define EMITTER(name) &name##_emitter,
#include "quant/export/c/emitters.def"
#undef EMITTER
    NULL,
};

/* One export under way. */
typedef struct Job {
    const Model *model;
    const Program *program;
    const CEmitter *emitter[GRAPH_MAX_NODES]; /* of each instruction ... */
    const QNode *node[GRAPH_MAX_NODES];       /* ... and the node that it computes */
    char id[GRAPH_MAX_NODES][C_IDENTIFIER];
    Plan plan;
    CWriter writer;
} Job;

/* --- preparing --- */

static const CEmitter *emitter_for(const Instr *instr) {
    for (int i = 0; emitter_list[i]; i++)
        if (strcmp(emitter_list[i]->instr, instr->kind->name) == 0) return emitter_list[i];
    return NULL;
}

static const QNode *node_of(const Model *model, const Instr *instr) {
    const QNode *q = model->quant->node;
    while (strcmp(q->node->name, instr->name) != 0) q++;
    return q;
}

/* id[i]: name, with _ for what no identifier has, and behind it as many _ as make it unique. */
static void identify(Job *job, int i) {
    char *id = job->id[i];
    snprintf(id, C_IDENTIFIER, "%s", job->program->instr[i].name);
    for (char *c = id; *c; c++)
        if (*c == '.' || *c == '-') *c = '_';
    for (int k = 0; k < i; k++)
        if (strcmp(job->id[k], id) == 0) {
            strcat(id, "_"); /* fits: at most one for each of GRAPH_MAX_NODES others */
            k = -1;
        }
}

static bool prepare(Job *job, Error *error) {
    const Program *program = job->program;
    for (int i = 0; i < program->instrs; i++) {
        const Instr *instr = &program->instr[i];
        job->emitter[i] = emitter_for(instr);
        job->node[i] = node_of(job->model, instr);
        if (!job->emitter[i])
            return error_set(error, ERROR_INPUT, "%s: the instruction %s has no C source",
                             instr->name, instr->kind->name);
        if (program->value[instr->out].bytes > INT32_MAX)
            return error_set(error, ERROR_INPUT, "%s: a value of %zu bytes, C has at most %d",
                             instr->name, program->value[instr->out].bytes, INT32_MAX);
        identify(job, i);
    }
    job->plan = plan_arena(program, job->emitter, job->node);
    if (job->plan.bytes > INT32_MAX)
        return error_set(error, ERROR_INPUT, "an arena of %zu bytes, C has at most %d",
                         job->plan.bytes, INT32_MAX);
    return true;
}

/* --- the sections --- */

/* Where value v lies, as an expression. */
static void locate(const Job *job, int v, char *text, size_t size) {
    if (v == 0)
        snprintf(text, size, "in");
    else if (v == job->program->output)
        snprintf(text, size, "out");
    else
        snprintf(text, size, "P_arena + %zu", job->plan.offset[v]);
}

static void write_instr(Job *job, int i) {
    const Instr *instr = &job->program->instr[i];
    CCall call = {.instr = instr, .q = job->node[i]};
    memcpy(call.id, job->id[i], C_IDENTIFIER);
    for (int k = 0; k < instr->inputs; k++)
        locate(job, instr->in[k], call.in[k], sizeof call.in[k]);
    locate(job, instr->out, call.out, sizeof call.out);
    c_print(job->writer.tables, "/* %s */\n", instr->name);
    for (int k = 0; job->emitter[i]->runtime[k]; k++)
        c_use(&job->writer, job->emitter[i]->runtime[k]);
    job->emitter[i]->emit(&job->writer, &call);
}

/* The result of the program, as codes. */
typedef struct Codes {
    const Value *of;
    uint8_t *bytes;
} Codes;

static void keep_codes(void *context, const Value *value, int samples, const uint8_t *bytes) {
    const Codes *codes = context;
    if (value == codes->of) memcpy(codes->bytes, bytes, (size_t)samples * value->bytes);
}

/* What the program makes of the self-test's inputs. */
static void write_expected(Job *job) {
    const Program *program = job->program;
    const Value *in = &program->value[0], *out = &program->value[program->output];
    Arena *arena = arena_new();
    uint8_t *pixels = arena_alloc(arena, size_mul(P_TESTS, in->bytes));
    float *logits = arena_alloc(arena, size_mul(P_TESTS * sizeof *logits, out->bytes));
    Codes codes = {out, arena_alloc(arena, size_mul(P_TESTS, out->bytes))};
    for (int test = 0; test < P_TESTS; test++)
        P_test_pixels(test, (int32_t)in->bytes, pixels + (size_t)test * in->bytes);
    program_run(program, P_TESTS, pixels, logits,
                arena_alloc(arena, program_scratch(program, P_TESTS)), keep_codes, &codes);
    size_t count = P_TESTS * out->bytes, flash = job->writer.flash;
    c_array_open(&job->writer, C_UINT8, "test", "expected", count);
    for (size_t i = 0; i < count; i++) c_array_put(&job->writer, codes.bytes[i]);
    c_array_close(&job->writer);
    job->writer.flash = flash; /* a program that never tests itself is linked without */
    arena_free(arena);
}

static void write_sections(Job *job) {
    CWriter *c = &job->writer;
    for (int i = 0; i < job->program->instrs; i++) write_instr(job, i);
    c_use(c, "pixels");
    write_expected(job);
    if (job->plan.bytes) c_print(c->tables, "\nstatic uint8_t P_arena[%zu];\n", job->plan.bytes);
    if (job->program->output == 0) { /* layers that do nothing */
        c_use(c, "copy");
        c_call(c, "copy(%zu, in, out)", job->program->value[0].bytes);
    }
}

/* --- the files --- */

/* The net's name for a comment. */
static void name_text(const Model *model, char text[NODE_NAME]) {
    snprintf(text, NODE_NAME, "%s", model->graph->name);
    for (char *c = text; *c; c++)
        if (strchr("*/?\\", *c)) *c = '_';
}

static void write_grid(FILE *to, const char *what, const Value *v) {
    char scale[32], shape[SHAPE_TEXT];
    snprintf(scale, sizeof scale, "%.9g", (double)v->scale);
    if (!strpbrk(scale, ".e")) strcat(scale, ".0");
    c_print(to, "\n/* %s: the codes of %s (channels first), as [positions][channels] */\n", what,
            shape_text(&v->shape, shape));
    c_print(to, "#define P_%s_SIZE %zu\n#define P_%s_CHANNELS %d\n", what, v->bytes, what,
            v->channels);
    c_print(to, "#define P_%s_SCALE %sf\n#define P_%s_ZERO_POINT %d\n", what, scale, what, v->zero);
    c_print(to, "#define P_%s_MAX %d /* the largest code */\n", what, v->top);
}

static void write_header(const Job *job, FILE *to) {
    char name[NODE_NAME];
    const Program *program = job->program;
    name_text(job->model, name);
    c_print(to, "/* %s as integers, exported by stair. */\n", name);
    c_print(to, "#ifndef P_INCLUDED\n#define P_INCLUDED\n\n#include <stdint.h>\n\n"
                "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n"
                "/* real = SCALE * (code - ZERO_POINT) */\n");
    write_grid(to, "IN", &program->value[0]);
    write_grid(to, "OUT", &program->value[program->output]);
    c_print(
        to,
        "\ntypedef uint8_t P_in_t;\ntypedef uint8_t P_out_t;\n\n"
        "/* pixels[P_IN_SIZE], channels first, to in[P_IN_SIZE]: normalised and quantized. */\n"
        "void P_codes_from_bytes(const uint8_t *pixels, P_in_t *in);\n\n"
        "/* in[P_IN_SIZE] to out[P_OUT_SIZE]. Not reentrant: values lie in one static arena of\n"
        " * %zu bytes. */\n"
        "void P_run(const P_in_t *in, P_out_t *out);\n\n"
        "/* 0: inputs made here give the codes that they gave when this file was written. */\n"
        "int P_selftest(void);\n\n"
        "#ifdef __cplusplus\n}\n#endif\n\n#endif\n",
        job->plan.bytes);
}

static void write_code(const Job *job, const char *header_name, char *const section[3], FILE *to) {
    char name[NODE_NAME];
    const CWriter *c = &job->writer;
    name_text(job->model, name);
    c_print(
        to,
        "/* %s as integers: C99, no library, no allocation. %zu bytes of constants, of them %zu\n"
        " * of weights; %zu bytes of RAM. Values lie as [positions][channels]. */\n"
        "#include \"%s\"\n\n",
        name, c->flash, c->weights, job->plan.bytes, header_name);
    c_print(to, "%s/* --- constants --- */\n\n%s\n", section[0], section[1]);
    c_print(to,
            "/* --- the program --- */\n\nvoid P_run(const P_in_t *in, P_out_t *out) {\n%s}\n\n%s",
            section[2], c_piece("interface"));
}

/* Closes a section or file opened by open_memstream; its text is in *text. */
static bool closed(FILE *file, char *const *text, Error *error) {
    bool ok = file && !ferror(file);
    if (file && fclose(file) != 0) ok = false;
    if (!ok || !*text) return error_set(error, ERROR_IO, "no memory for the C source");
    return true;
}

static bool write_texts(Job *job, const char *header_name, CSource *source, Error *error) {
    char *section[3] = {NULL};
    size_t size;
    CWriter *c = &job->writer;
    c->pixels = &job->model->pixels;
    FILE **files[3] = {&c->runtime, &c->tables, &c->body};
    bool ok = true;
    for (int i = 0; i < 3; i++) ok &= (*files[i] = open_memstream(&section[i], &size)) != NULL;
    if (ok) write_sections(job);
    for (int i = 0; i < 3; i++) ok &= closed(*files[i], &section[i], error);
    FILE *code = ok ? open_memstream(&source->code, &size) : NULL;
    FILE *header = ok ? open_memstream(&source->header, &size) : NULL;
    if (code) write_code(job, header_name, section, code);
    if (header) write_header(job, header);
    if (ok) ok = closed(code, &source->code, error) & closed(header, &source->header, error);
    for (int i = 0; i < 3; i++) free(section[i]);
    return ok;
}

bool c_source(const Model *model, const Program *program, const char *header_name, CSource *source,
              Error *error) {
    Arena *arena = arena_new();
    Job *job = arena_zeros(arena, sizeof *job);
    job->model = model;
    job->program = program;
    *source = (CSource){NULL};
    bool ok = prepare(job, error) && write_texts(job, header_name, source, error);
    source->flash = job->writer.flash;
    source->weights = job->writer.weights;
    source->ram = job->plan.bytes;
    arena_free(arena);
    return ok;
}

void c_source_free(CSource *source) {
    free(source->code);
    free(source->header);
}
