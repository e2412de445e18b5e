/* The nets that `--model NAME` knows. Each is a .net text, the very form that users write: copy
 * one, change it. */
#pragma once

#include "nn/graph.h"

typedef struct ZooNet {
    const char *name, *summary, *text;
} ZooNet;

extern const ZooNet zoo_list[]; /* ends with a NULL name */
const ZooNet *zoo_find(const char *name);

/* A net by name, or read from a file whose name ends in ".net". The caller owns the graph.
 * ERROR_USAGE for an unknown name, ERROR_IO or ERROR_INPUT for a file. */
Graph *zoo_open(const char *name_or_file, Error *error);
