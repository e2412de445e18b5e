/* Reader: makes a model of another tool's file. The list is readers.def; a file is read by the
 * first reader that knows it by its first bytes, whatever its name says.
 *
 * To add a format: quant/import/NAME.c with `const Reader NAME_reader`, and READER(NAME) in
 * readers.def. */
#pragma once

#include "quant/model.h"

typedef struct ImportFile {
    const char *path;
    const unsigned char *data; /* [size] */
    size_t size;
    const char *output; /* of a graph with several the one that the net gives; NULL: nothing said */
} ImportFile;

typedef struct Reader {
    const char *name; /* "an ONNX file" */
    bool carries_net; /* its files say what net they hold; others need to be told */
    bool (*knows)(const ImportFile *file);
    /* A model of the file's content, in whatever stage that is; the caller owns it. `graph`, which
     * is the reader's from now on, even on error, is the net that was named; NULL: none was.
     * NULL and ERROR_IO or ERROR_INPUT, all that is wrong or unknown listed at once; ERROR_USAGE
     * for a sound file that needs a net to be named. */
    Model *(*read)(const ImportFile *file, Graph *graph, Error *error);
} Reader;

extern const Reader *const reader_list[]; /* ends with NULL */

enum { IMPORT_BYTES = 1 << 30 /* of a file */ };

/* Opens a file of any format of the list. `net` is a name of the zoo or a .net file, for formats
 * that carry none (ERROR_USAGE if it is missing there, or given where the file has its own);
 * `output` names the net's output, for those that carry one. Each may be NULL. */
Model *model_import(const char *path, const char *net, const char *output, Error *error);

/* "0.286,0.353": mean and deviation of all channels, or the means of the channels, then their
 * deviations. False, *pixels as before, and ERROR_USAGE if the text is anything else. */
bool normalization_parse(const char *text, Normalization *pixels, Error *error);
