/* export c: a frozen model as C99 source. */
#include "quant/export/export.h"

static bool write(Model *model, const char *path, const ExportOptions *options,
                  ExportReport *report, Error *error) {
    (void)model, (void)options, (void)report;
    return error_set(error, ERROR_INPUT, "%s: not yet", path);
}

const Export c_export = {
    .name = "c",
    .summary = "C99 source of the integer program, for any processor: OUT.c and OUT.h",
    .stages = 1 << STAGE_FROZEN,
    .hint = "freeze it first: stair freeze",
    .options = (const char *const[]){"prefix", NULL},
    .write = write,
};
