/* CIFAR-10, binary version: files of records, each a label byte and 3072 pixel bytes, [3][32][32],
 * the planes red, green, blue. Training images are in five files, all of them needed; the test
 * images in one. */
#include <stdlib.h>
#include <string.h>

#include "datasets/format.h"
#include "datasets/stream.h"

enum { CHANNELS = 3, SIDE = 32, CLASSES = 10, TRAIN_FILES = 5 };
enum { PIXELS = CHANNELS * SIDE * SIDE, RECORD = 1 + PIXELS };

_Static_assert((int)TRAIN_FILES <= (int)SEARCH_PATHS, "a path for each file");

static int file_count(const Search *search) {
    return search->train ? TRAIN_FILES : 1;
}

/* True if any of the files is there: that another is not is then said when it is read. */
static bool found_in(Search *search, const char *folder) {
    bool found = false;
    for (int i = 0; i < file_count(search); i++)
        found |= search->train ? search_for(search, i, "%sdata_batch_%d.bin", folder, i + 1)
                               : search_for(search, i, "%stest_batch.bin", folder);
    return found;
}

static bool cifar10_found(Search *search) {
    return found_in(search, "") || found_in(search, "cifar-10-batches-bin/");
}

static bool check_records(const char *path, const uint8_t *records, size_t bytes, Error *error) {
    if (bytes == 0) return error_set(error, ERROR_INPUT, "%s: has no records", path);
    if (bytes % RECORD != 0)
        return error_set(
            error, ERROR_INPUT, "%s: is %zu bytes long, expected records of %d bytes (CIFAR-10)%s",
            path, bytes, RECORD,
            bytes % (RECORD + 1) == 0 ? "; records of 3074 bytes are CIFAR-100's" : "");
    for (size_t at = 0; at < bytes; at += RECORD)
        if (records[at] >= CLASSES)
            return error_set(error, ERROR_INPUT, "%s: label %d (offset %zu), expected 0 to %d",
                             path, records[at], at, CLASSES - 1);
    return true;
}

/* Appends the records of one file to the dataset. */
static bool append(Dataset *dataset, const uint8_t *records, size_t count, Error *error) {
    size_t total = (size_t)dataset->count + count;
    uint8_t *pixels = realloc(dataset->pixels, total * PIXELS);
    if (pixels) dataset->pixels = pixels;
    uint8_t *labels = realloc(dataset->labels, total);
    if (labels) dataset->labels = labels;
    if (!pixels || !labels)
        return error_set(error, ERROR_IO, "no memory for %zu images of CIFAR-10", total);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *record = records + i * RECORD;
        dataset->labels[dataset->count] = record[0];
        memcpy(dataset->pixels + (size_t)dataset->count++ * PIXELS, record + 1, PIXELS);
    }
    return true;
}

static bool read_file(Dataset *dataset, const char *path, Error *error) {
    size_t room = DATASET_MAX_BYTES - (size_t)dataset->count * RECORD, bytes = 0;
    uint8_t *records = NULL;
    Stream *stream = stream_open(path, error);
    bool ok = stream && stream_take(stream, room + 1, &records, &bytes, error);
    if (ok && bytes > room)
        ok = error_set(error, ERROR_INPUT, "%s: too much data, expected at most %zu bytes in all",
                       path, DATASET_MAX_BYTES);
    ok = ok && check_records(path, records, bytes, error) &&
         append(dataset, records, bytes / RECORD, error);
    free(records);
    stream_close(stream);
    return ok;
}

static bool cifar10_read(const Search *search, Dataset *dataset, Error *error) {
    for (int i = 0; i < file_count(search); i++)
        if (!read_file(dataset, search->path[i], error)) return false;
    dataset->channels = CHANNELS;
    dataset->height = dataset->width = SIDE;
    dataset->classes = CLASSES;
    return true;
}

const DatasetFormat cifar10_format = {
    .name = "CIFAR-10", .found = cifar10_found, .read = cifar10_read};
