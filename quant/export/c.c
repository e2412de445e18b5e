/* export c: a frozen model as C99 source for any processor, in two files: OUT.c and, beside it,
 * OUT.h. */
#include <stdio.h>
#include <string.h>

#include "autograd/file.h"
#include "quant/export/c/source.h"
#include "quant/export/export.h"

enum { PREFIX_MOST = 32 };

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
static bool in_identifier(char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '_';
}

static bool prefix_fits(const char *prefix, Error *error) {
    size_t length = 0;
    while (in_identifier(prefix[length])) length++;
    if (is_letter(*prefix) && !prefix[length] && length <= PREFIX_MOST) return true;
    return error_set(error, ERROR_USAGE,
                     "--prefix takes a C identifier of at most %d letters, digits and _ that "
                     "begins with a letter, not \"%.64s\"",
                     PREFIX_MOST, prefix);
}

/* The header's path, from the path of the source; owned by the arena. NULL on error. */
static char *header_path(const char *path, Arena *arena, Error *error) {
    size_t length = strlen(path);
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    bool plain = strlen(name) > 2 && strcmp(path + length - 2, ".c") == 0;
    for (const char *c = name; *c; c++) plain &= *c >= ' ' && *c < 127 && !strchr("\"\\?", *c);
    if (plain) return arena_text(arena, "%.*s.h", (int)length - 2, path);
    error_set(error, ERROR_USAGE,
              "%s: the name of C source ends in .c, and no \", \\ or ? is in it", path);
    return NULL;
}

/* Writes text with `prefix` for each P that begins an identifier P_... */
static bool write_text(FileWriter *file, const char *text, const char *prefix) {
    const char *from = text;
    for (const char *c = text; (c = strstr(c, "P_")); c++) {
        if (c > text && in_identifier(c[-1])) continue;
        file_write(file, from, (size_t)(c - from));
        file_write(file, prefix, strlen(prefix));
        from = c + 1;
    }
    return file_write(file, from, strlen(from));
}

/* Both files or none; but where moving the second into its place fails, the first is there. */
static bool write_files(const CSource *source, const char *code_path, const char *header_path,
                        const char *prefix, Error *error) {
    FileWriter *header = file_create(header_path, error);
    FileWriter *code = header ? file_create(code_path, error) : NULL;
    if (!code) {
        file_abandon(header);
        return false;
    }
    if (!write_text(code, source->code, prefix)) {
        file_abandon(header);
        return file_commit(code, error); /* tells what failed */
    }
    write_text(header, source->header, prefix);
    if (file_commit(header, error)) return file_commit(code, error);
    file_abandon(code);
    return false;
}

static bool write(Model *model, const char *path, const ExportOptions *options,
                  ExportReport *report, Error *error) {
    if (!model_has_grids(model, model->graph->name, error)) return false;
    Arena *arena = arena_new();
    char *header = prefix_fits(options->prefix, error) ? header_path(path, arena, error) : NULL;
    if (header && file_same(header, options->input)) {
        error_set(error, ERROR_USAGE, "%s would be replaced by the header; name another output",
                  options->input);
        header = NULL;
    }
    Program *program = header ? model_program(model, error) : NULL;
    CSource source = {NULL};
    const char *slash = header ? strrchr(header, '/') : NULL;
    bool ok = program && c_source(model, program, slash ? slash + 1 : header, &source, error) &&
              write_files(&source, path, header, options->prefix, error);
    if (ok)
        snprintf(report->text, sizeof report->text,
                 "stair: %s: %d instructions; flash: %zu bytes of constants, of them %zu of "
                 "weights; RAM: an arena of %zu bytes\n",
                 path, program->instrs, source.flash, source.weights, source.ram);
    c_source_free(&source);
    program_free(program);
    arena_free(arena);
    return ok;
}

const Export c_export = {
    .name = "c",
    .summary = "C99 source of the integer program, for any processor: OUT.c and OUT.h",
    .stages = 1 << STAGE_FROZEN,
    .hint = "freeze it first: stair freeze",
    .options = (const char *const[]){"prefix", NULL},
    .write = write,
};
