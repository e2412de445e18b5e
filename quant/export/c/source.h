/* From a program to the text of its C. */
#pragma once

#include "quant/model.h"

/* A program as C99: the files P.c and P.h, with P_ for the prefix. */
typedef struct CSource {
    char *code, *header;        /* malloc'ed; c_source_free */
    size_t flash, weights, ram; /* bytes: constant tables, of them weights; the arena */
} CSource;

/* model: frozen. ERROR_INPUT, naming the node, for what has no C. header_name: of the file, for
 * #include. */
bool c_source(const Model *model, const Program *program, const char *header_name, CSource *source,
              Error *error);
void c_source_free(CSource *source);
