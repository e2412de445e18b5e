/* PGM and PPM: "P2", "P3" (numbers as text), "P5" or "P6" (numbers as bytes), then width, height
 * and the largest value, then the raster, rows from the top. Comments run from # to the end of the
 * line. */
#include <stdlib.h>

#include "datasets/image_format.h"

enum { MAX_VALUE = 65535 };

typedef struct Reader {
    const ImageFile *file;
    size_t at;
    bool text;
    unsigned width, height, channels, maxval;
} Reader;

static bool is_space(uint8_t c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip_space(Reader *reader) {
    const ImageFile *file = reader->file;
    for (; reader->at < file->size; reader->at++) {
        uint8_t c = file->bytes[reader->at];
        if (c == '#')
            while (reader->at + 1 < file->size && file->bytes[reader->at] != '\n') reader->at++;
        else if (!is_space(c))
            return;
    }
}

/* A decimal number within [least, most], after white space and comments. */
static bool number(Reader *reader, const char *what, unsigned least, unsigned most, unsigned *value,
                   Error *error) {
    const ImageFile *file = reader->file;
    skip_space(reader);
    size_t begin = reader->at;
    uint64_t sum = 0;
    for (; reader->at < file->size; reader->at++) {
        uint8_t c = file->bytes[reader->at];
        if (c < '0' || c > '9') break;
        if (sum <= most) sum = sum * 10 + (uint64_t)(c - '0');
    }
    if (reader->at == begin)
        return error_set(error, ERROR_INPUT, "%s: expected %s (offset %zu), got %s", file->path,
                         what, begin, begin == file->size ? "the end of the file" : "no digit");
    size_t digits = reader->at - begin;
    if (sum < least || sum > most)
        return error_set(error, ERROR_INPUT, "%s: expected %s of %u to %u (offset %zu), got %.*s",
                         file->path, what, least, most, begin, (int)(digits < 20 ? digits : 20),
                         (const char *)file->bytes + begin);
    *value = (unsigned)sum;
    return true;
}

static bool read_header(Reader *reader, Error *error) {
    const ImageFile *file = reader->file;
    char kind = (char)file->bytes[1];
    reader->at = 2;
    reader->text = kind == '2' || kind == '3';
    reader->channels = kind == '3' || kind == '6' ? 3 : 1;
    if (!number(reader, "a width", 1, IMAGE_MAX_SIDE, &reader->width, error) ||
        !number(reader, "a height", 1, IMAGE_MAX_SIDE, &reader->height, error) ||
        !number(reader, "a largest value", 1, MAX_VALUE, &reader->maxval, error))
        return false;
    if (reader->at < file->size && is_space(file->bytes[reader->at])) {
        reader->at++;
        return true;
    }
    return error_set(error, ERROR_INPUT, "%s: expected white space after the header (offset %zu)",
                     file->path, reader->at);
}

/* The raster takes at least (text: a digit and a space each) or exactly (bytes) so much of the
 * file. */
static bool check_raster(const Reader *reader, size_t samples, Error *error) {
    size_t left = reader->file->size - reader->at;
    size_t needed = reader->text ? 2 * samples - 1 : samples * (reader->maxval > 255 ? 2 : 1);
    if (left >= needed) return true;
    return error_set(error, ERROR_INPUT,
                     "%s: its raster is too short (offset %zu): expected %s%zu bytes, got %zu",
                     reader->file->path, reader->at, reader->text ? "at least " : "", needed, left);
}

static bool read_sample(Reader *reader, unsigned *value, Error *error) {
    if (reader->text) return number(reader, "a sample", 0, reader->maxval, value, error);
    const uint8_t *p = reader->file->bytes + reader->at;
    bool wide = reader->maxval > 255;
    *value = wide ? (unsigned)(p[0] << 8 | p[1]) : p[0];
    if (*value > reader->maxval)
        return error_set(error, ERROR_INPUT, "%s: sample %u (offset %zu), expected at most %u",
                         reader->file->path, *value, reader->at, reader->maxval);
    reader->at += wide ? 2 : 1;
    return true;
}

static bool read_raster(Reader *reader, uint8_t *pixels, size_t samples, Error *error) {
    for (size_t i = 0; i < samples; i++) {
        unsigned value;
        if (!read_sample(reader, &value, error)) return false;
        pixels[i] = (uint8_t)((value * 255 + reader->maxval / 2) / reader->maxval);
    }
    skip_space(reader);
    return reader->at == reader->file->size ||
           error_set(error, ERROR_INPUT, "%s: has %zu bytes after its raster (offset %zu)",
                     reader->file->path, reader->file->size - reader->at, reader->at);
}

bool pnm_decode(const ImageFile *file, Image *image, Error *error) {
    Reader reader = {.file = file};
    if (!read_header(&reader, error)) return false;
    size_t samples = (size_t)reader.width * reader.height * reader.channels;
    if (!check_raster(&reader, samples, error)) return false;
    uint8_t *pixels = malloc(samples);
    if (!pixels)
        return error_set(error, ERROR_IO, "%s: no memory for %zu bytes of pixels", file->path,
                         samples);
    if (!read_raster(&reader, pixels, samples, error)) {
        free(pixels);
        return false;
    }
    *image = (Image){(int)reader.width, (int)reader.height, (int)reader.channels, pixels};
    return true;
}
