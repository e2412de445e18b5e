/* What image.c shares with the readers of each image format. */
#pragma once

#include <stddef.h>

#include "datasets/image.h"

/* The whole of a file. */
typedef struct ImageFile {
    const char *path;
    const uint8_t *bytes; /* [size] */
    size_t size;
} ImageFile;

/* Each fills *image, or returns false with ERROR_INPUT (ERROR_IO without memory) and no pixels. */
bool png_decode(const ImageFile *file, Image *image, Error *error);
bool pnm_decode(const ImageFile *file, Image *image, Error *error);

/* The decoder behind png_decode, which gives it only what it has checked. */
bool stb_png_decode(const ImageFile *file, Image *image, Error *error);
