#include "datasets/dataset.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "datasets/format.h"

static const DatasetFormat *const formats[] = {
#define FORMAT(name) &name##_format,
#include "datasets/formats.def"
#undef FORMAT
};
enum { FORMATS = sizeof formats / sizeof *formats };

static bool exists(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

bool search_for(Search *search, int slot, const char *format, ...) {
    char name[NAME_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    size_t used = strlen(search->tried);
    snprintf(search->tried + used, sizeof search->tried - used, "%s%s", used ? ", " : "", name);
    int length = snprintf(search->path[slot], PATH_MAX, "%s/%s", search->folder, name);
    return length < PATH_MAX && exists(search->path[slot]);
}

static const DatasetFormat *find(Search *search, Error *error) {
    for (int i = 0; i < FORMATS; i++)
        if (formats[i]->found(search)) return formats[i];
    struct stat status;
    const char *hint = strcmp(search->folder, DATASET_DEFAULT) == 0
                           ? "; it comes with: apt-get install dataset-fashion-mnist"
                           : "";
    if (stat(search->folder, &status) != 0)
        error_set(error, ERROR_IO, "%s: %s%s", search->folder, strerror(errno), hint);
    else if (!S_ISDIR(status.st_mode))
        error_set(error, ERROR_IO, "%s: is not a folder", search->folder);
    else
        error_set(error, ERROR_IO, "%s: has no data set; tried %s%s", search->folder, search->tried,
                  hint);
    return NULL;
}

/* Gives back the memory behind the first `limit` images. */
static void keep_first(Dataset *dataset, int limit) {
    if (limit == 0 || limit >= dataset->count) return;
    dataset->count = limit;
    uint8_t *pixels = realloc(dataset->pixels, (size_t)limit * dataset_image_bytes(dataset));
    uint8_t *labels = realloc(dataset->labels, (size_t)limit);
    if (pixels) dataset->pixels = pixels;
    if (labels) dataset->labels = labels;
}

Dataset *dataset_open(const char *folder, bool train, int limit, Error *error) {
    CHECK(limit >= 0, "limit %d", limit);
    Dataset *dataset = calloc(1, sizeof *dataset);
    Search *search = calloc(1, sizeof *search);
    bool ok = (dataset && search) || error_set(error, ERROR_IO, "no memory for a data set");
    if (ok) {
        search->folder = folder ? folder : DATASET_DEFAULT;
        search->train = train;
        const DatasetFormat *format = find(search, error);
        if (format) dataset->format = format->name;
        ok = format && format->read(search, dataset, error);
    }
    if (ok) {
        keep_first(dataset, limit);
        dataset->source = strdup(search->path[0]);
        ok = dataset->source || error_set(error, ERROR_IO, "no memory for a data set");
    }
    free(search);
    if (ok) return dataset;
    dataset_free(dataset);
    return NULL;
}

void dataset_free(Dataset *dataset) {
    if (!dataset) return;
    free(dataset->pixels);
    free(dataset->labels);
    free(dataset->source);
    free(dataset);
}

/* With s = sum p, q = sum p^2 over n bytes: mean = s/n and var = q/n - (s/n)^2, both then scaled by
 * 1/255. s and q are exact (at most 2^30 * 2^16); the only rounding is that of these divisions. */
void dataset_statistics(const Dataset *dataset, float mean[], float std[]) {
    size_t plane = (size_t)dataset->height * (size_t)dataset->width;
    double n = (double)dataset->count * (double)plane;
    for (int c = 0; c < dataset->channels; c++) {
        uint64_t sum = 0, squares = 0;
        for (int i = 0; i < dataset->count; i++) {
            const uint8_t *p = dataset_image(dataset, i) + (size_t)c * plane;
            for (size_t k = 0; k < plane; k++) {
                sum += p[k];
                squares += (uint64_t)p[k] * p[k];
            }
        }
        double average = (double)sum / n;
        double variance = (double)squares / n - average * average;
        mean[c] = (float)(average / 255.0);
        std[c] = variance > 0.0 ? (float)(sqrt(variance) / 255.0) : 1.0f;
    }
}
