#include "quant/export/export.h"

#include <stdio.h>
#include <string.h>

#include "nn/nearest.h"

#define EXPORT(name) extern const Export name##_export;
#include "quant/export/exports.def"
#undef EXPORT

const Export *const export_list[] = {
#define EXPORT(name) &name##_export,
#include "quant/export/exports.def"
#undef EXPORT
    NULL,
};

const Export *export_find(const char *name, Error *error) {
    char known[256] = "";
    Nearest nearest = nearest_to(name, strlen(name));
    for (int i = 0; export_list[i]; i++) {
        const Export *format = export_list[i];
        if (strcmp(format->name, name) == 0) return format;
        nearest_try(&nearest, format->name);
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, " %s", format->name);
    }
    error_set(error, ERROR_USAGE, "unknown format '%.64s'%s%s%s: known are%s", name,
              nearest.best ? ", did you mean '" : "", nearest.best ? nearest.best : "",
              nearest.best ? "'?" : "", known);
    return NULL;
}

bool export_reads(const Export *format, const char *option) {
    for (int i = 0; format->options && format->options[i]; i++)
        if (strcmp(format->options[i], option) == 0) return true;
    return false;
}
