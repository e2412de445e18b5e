#include "datasets/image.h"

#include <stdlib.h>
#include <string.h>

#include "datasets/image_format.h"
#include "datasets/stream.h"

/* What a file's first bytes say; rows without decode are there to be named. */
static const struct {
    const char *magic;
    size_t length, offset;
    const char *name;
    bool (*decode)(const ImageFile *file, Image *image, Error *error);
} kinds[] = {
    {"\x89PNG\r\n\x1a\n", 8, 0, "PNG", png_decode},
    {"P2", 2, 0, "plain PGM", pnm_decode},
    {"P3", 2, 0, "plain PPM", pnm_decode},
    {"P5", 2, 0, "PGM", pnm_decode},
    {"P6", 2, 0, "PPM", pnm_decode},
    {"P1", 2, 0, "a plain PBM bitmap", NULL},
    {"P4", 2, 0, "a PBM bitmap", NULL},
    {"P7", 2, 0, "a PAM image", NULL},
    {"\xff\xd8\xff", 3, 0, "a JPEG image", NULL},
    {"GIF8", 4, 0, "a GIF image", NULL},
    {"WEBP", 4, 8, "a WebP image", NULL},
    {"ftypavif", 8, 4, "an AVIF image", NULL},
    {"ftyphei", 7, 4, "a HEIC image", NULL},
    {"BM", 2, 0, "a BMP image", NULL},
    {"II*\0", 4, 0, "a TIFF image", NULL},
    {"MM\0*", 4, 0, "a TIFF image", NULL},
    {"%PDF", 4, 0, "a PDF document", NULL},
    {"<", 1, 0, "an HTML, XML or SVG page", NULL},
    {"\x93NUMPY", 6, 0, "a NumPy array", NULL},
    {"PK\3\4", 4, 0, "a ZIP archive", NULL},
    {"\x1f\x8b", 2, 0, "gzip data inside gzip", NULL},
    {"\0\0\x08", 3, 0, "an IDX data set, not one image", NULL},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static bool decode(const ImageFile *file, Image *image, Error *error) {
    for (int i = 0; i < KINDS; i++) {
        size_t end = kinds[i].offset + kinds[i].length;
        if (file->size < end ||
            memcmp(file->bytes + kinds[i].offset, kinds[i].magic, kinds[i].length) != 0)
            continue;
        if (kinds[i].decode) return kinds[i].decode(file, image, error);
        return error_set(error, ERROR_INPUT,
                         "%s: is %s (offset %zu), expected PNG, PGM or PPM: convert it to one",
                         file->path, kinds[i].name, kinds[i].offset);
    }
    return error_set(error, ERROR_INPUT,
                     "%s: is no image known here (offset 0), expected PNG, PGM or PPM", file->path);
}

bool image_open(const char *path, Image *image, Error *error) {
    *image = (Image){0};
    Stream *stream = stream_open(path, error);
    if (!stream) return false;
    uint8_t *bytes;
    size_t size;
    bool ok = stream_take(stream, IMAGE_MAX_FILE + 1, &bytes, &size, error);
    if (ok && size > IMAGE_MAX_FILE)
        ok = error_set(error, ERROR_INPUT,
                       "%s: is too large for an image, expected at most %d bytes", path,
                       IMAGE_MAX_FILE);
    ok = ok && decode(&(ImageFile){path, bytes, size}, image, error);
    free(bytes);
    stream_close(stream);
    return ok;
}

void image_free(Image *image) {
    free(image->pixels);
    *image = (Image){0};
}
