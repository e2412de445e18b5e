/* What the tests of image files share: files from bytes, and what becomes of them. */
#pragma once

#include "tests/scratch.h"

#define PIXELS(...)                                                                                \
    (uint8_t[]) {                                                                                  \
        __VA_ARGS__                                                                                \
    }

/* As a file, these bytes decode to width x height x channels with these pixels. */
void expect_pixels(const Bytes *file, int width, int height, int channels, const uint8_t *pixels);
/* As a file, they are refused, by its path and this fragment. */
void expect_refused(const Bytes *file, const char *fragment);

Bytes bytes_of(const char *text);
/* Adds a chunk: length, type, data, checksum. */
void png_chunk(Bytes *png, const char *type, const void *data, size_t count);
