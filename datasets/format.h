/* DatasetFormat: the const row of one kind of data set on disk, and the search for its files. Only
 * the files of this folder use it. */
#pragma once

#include <limits.h>

#include "datasets/dataset.h"

enum { SEARCH_PATHS = 5, SEARCH_TRIED = 1536 };

/* What was asked for, what was looked at, what was settled on. */
typedef struct Search {
    const char *folder;
    bool train;
    char path[SEARCH_PATHS][PATH_MAX]; /* the files to read, their order is the format's own */
    char tried[SEARCH_TRIED];          /* "a, b, c": names within the folder, for the message */
} Search;

/* Makes path[slot] of folder and name, and notes the name as tried. True when something is there,
 * be it readable or not: reading it will tell the reason better than not finding it. */
bool search_for(Search *search, int slot, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

typedef struct DatasetFormat {
    const char *name;
    /* True when the folder holds this kind; fills search->path. */
    bool (*found)(Search *search);
    /* Reads these paths into an empty dataset, all but its `source` and `format`. On failure what
     * was allocated stays in the dataset, for dataset_free. */
    bool (*read)(const Search *search, Dataset *dataset, Error *error);
} DatasetFormat;

#define FORMAT(name) extern const DatasetFormat name##_format;
#include "datasets/formats.def"
#undef FORMAT
