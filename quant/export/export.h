/* Export: a model in a format for others.
 *
 * To add a format: quant/export/NAME.c with `const Export NAME_export` and the line EXPORT(NAME) in
 * quant/export/exports.def. `stair export`, its help and its refusals come from the row. */
#pragma once

#include "quant/model.h"

/* What the command line says about the result; each format reads what its row names. */
typedef struct ExportOptions {
    const char *input;   /* the model's file, which no output replaces; NULL: none */
    const char *version; /* stair's, for files that tell who wrote them */
    const char *prefix;  /* of every C identifier */
} ExportOptions;

/* What people are told about the result: lines, each with its newline. */
typedef struct ExportReport {
    char text[1024];
} ExportReport;

typedef struct Export {
    const char *name, *summary;
    unsigned stages;            /* it can write, a set of 1 << Stage ... */
    const char *hint;           /* ... and what to do with a model of another stage first */
    const char *const *options; /* the options that it reads, of those that not every format does;
                                   NULL-terminated; NULL: none */
    /* Writes the model, crash-safe: on error no file is left or changed. ERROR_INPUT, naming the
     * node, for what the format cannot say. */
    bool (*write)(Model *model, const char *path, const ExportOptions *options,
                  ExportReport *report, Error *error);
} Export;

extern const Export *const export_list[]; /* ends with NULL */

/* The format of that name; NULL and ERROR_USAGE, with the nearest name, if there is none. */
const Export *export_find(const char *name, Error *error);
/* Does the format read that option? */
bool export_reads(const Export *format, const char *option);
