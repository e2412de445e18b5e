#include "quant/import/reader.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "autograd/file.h"
#include "nn/zoo.h"

#define READER(name) extern const Reader name##_reader;
#include "quant/import/readers.def"
#undef READER

const Reader *const reader_list[] = {
#define READER(name) &name##_reader,
#include "quant/import/readers.def"
#undef READER
    NULL,
};

static const Reader *reader_of(const ImportFile *file) {
    for (int i = 0; reader_list[i]; i++)
        if (reader_list[i]->knows(file)) return reader_list[i];
    return NULL;
}

static Model *read_with(const Reader *reader, const ImportFile *file, const char *net,
                        Error *error) {
    if (reader->carries_net == (net != NULL)) {
        error_set(error, ERROR_USAGE,
                  net ? "%s: %s says itself what net it holds: --model cannot be given"
                      : "%s: %s holds arrays and no net: name it with --model",
                  file->path, reader->name);
        return NULL;
    }
    Graph *graph = NULL;
    if (net && !(graph = zoo_open(net, error))) return NULL;
    return reader->read(file, graph, error);
}

Model *model_import(const char *path, const char *net, Error *error) {
    Arena *arena = arena_new();
    ImportFile file = {.path = path};
    unsigned char *data;
    Model *model = NULL;
    if (file_read(arena, path, IMPORT_BYTES, &data, &file.size, error)) {
        file.data = data;
        model = read_with(reader_of(&file), &file, net, error);
    }
    arena_free(arena);
    return model;
}

bool normalization_parse(const char *text, Normalization *pixels, Error *error) {
    float value[2 * NORMALIZATION_CHANNELS];
    int count = 0, channels = pixels->channels;
    const char *c = text;
    for (char *end; count < 2 * channels; c = end + 1) {
        value[count] = strtof(c, &end);
        if (end == c || !strchr("+-.0123456789", *c)) break; /* no blanks, no "inf", no "nan" */
        count++;
        c = end;
        if (*end != ',') break;
    }
    Normalization parsed = {.channels = channels};
    bool ok = !*c && (count == 2 || count == 2 * channels);
    for (int i = 0; ok && i < channels; i++) {
        parsed.mean[i] = value[count == 2 ? 0 : i];
        parsed.std[i] = value[count == 2 ? 1 : channels + i];
        ok = parsed.std[i] > 0 && isfinite(normalize_byte(0, parsed.mean[i], parsed.std[i])) &&
             isfinite(normalize_byte(255, parsed.mean[i], parsed.std[i]));
    }
    if (!ok)
        return error_set(
            error, ERROR_USAGE,
            "--normalize %.200s: expected MEAN,STD%s, the deviations more than 0", text,
            channels == 1 ? "" : ", or a mean for each channel and then a deviation each");
    *pixels = parsed;
    return true;
}
