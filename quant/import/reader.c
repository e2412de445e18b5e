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
    if (reader->carries_net && net) {
        error_set(error, ERROR_USAGE,
                  "%s: %s says itself what net it holds: --model cannot be given", file->path,
                  reader->name);
        return NULL;
    }
    if (!reader->carries_net && file->output) {
        error_set(error, ERROR_USAGE, "%s: %s has no graph: --graph-output cannot be given",
                  file->path, reader->name);
        return NULL;
    }
    Graph *graph = NULL;
    if (net && !(graph = zoo_open(net, error))) return NULL;
    return reader->read(file, graph, error);
}

Model *model_import(const char *path, const char *net, const char *output, Error *error) {
    Arena *arena = arena_new();
    ImportFile file = {.path = path, .output = output};
    unsigned char *data;
    Model *model = NULL;
    if (file_read(arena, path, IMPORT_BYTES, &data, &file.size, error)) {
        file.data = data;
        model = read_with(reader_of(&file), &file, net, error);
    }
    arena_free(arena);
    return model;
}

/* Numbers between commas; how many, 0 if the text is anything else. */
static int parse_numbers(const char *text, int room, float value[]) {
    if (text[strspn(text, "0123456789+-.eE,")]) return 0; /* no blanks, no "inf", no "nan", no 0x */
    for (int count = 0; count < room; text++) {
        char *end;
        value[count++] = strtof(text, &end);
        if (end == text) return 0;
        if (!*end) return count;
        text = end;
    }
    return 0;
}

bool normalization_parse(const char *text, Normalization *pixels, Error *error) {
    float value[2 * NORMALIZATION_CHANNELS];
    int channels = pixels->channels, count = parse_numbers(text, 2 * channels, value);
    Normalization parsed = {.channels = channels};
    bool ok = count == 2 || count == 2 * channels;
    for (int i = 0; ok && i < channels; i++) {
        parsed.mean[i] = value[count == 2 ? 0 : i];
        parsed.std[i] = value[count == 2 ? 1 : channels + i];
        ok = parsed.std[i] > 0 && isfinite(normalize_byte(0, parsed.mean[i], parsed.std[i])) &&
             isfinite(normalize_byte(255, parsed.mean[i], parsed.std[i]));
    }
    if (ok) *pixels = parsed;
    return ok ||
           error_set(error, ERROR_USAGE,
                     "--normalize %.200s: expected MEAN,STD%s, the deviations more than 0", text,
                     channels == 1 ? ""
                                   : ", or a mean for each channel and then a deviation for each");
}
