#include "quant/export/export.h"

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
    Nearest nearest = nearest_to(name, strlen(name));
    for (int i = 0; export_list[i]; i++) {
        if (strcmp(export_list[i]->name, name) == 0) return export_list[i];
        nearest_try(&nearest, export_list[i]->name);
    }
    if (nearest.best)
        error_set(error, ERROR_USAGE, "no format \"%.64s\"; did you mean %s?", name, nearest.best);
    else
        error_set(error, ERROR_USAGE, "no format \"%.64s\"; 'stair help export' lists them", name);
    return NULL;
}

bool export_reads(const Export *format, const char *option) {
    for (int i = 0; format->options && format->options[i]; i++)
        if (strcmp(format->options[i], option) == 0) return true;
    return false;
}
