/* stb_image's only home: PNG alone, from memory, private to this file, of limited appetite. */
#include <stdlib.h>
#include <string.h>

#include "datasets/image_format.h"

/* Decoding holds the filtered rows and the pixels at once: room for 16 Mpx of 8-bit RGBA. */
enum { APPETITE = 192 << 20, HEAD = 16 };
static _Thread_local size_t held;
static _Thread_local bool refused; /* a block, during the present decoding */

/* realloc for stb_image: the block's size stands in the HEAD bytes before it. */
static void *capped_realloc(void *old, size_t size) {
    char *block = old ? (char *)old - HEAD : NULL;
    size_t before = 0;
    if (block) memcpy(&before, block, sizeof before);
    refused |= size > APPETITE || held - before > APPETITE - size;
    if (refused) return NULL;
    block = realloc(block, size + HEAD);
    if (!block) return refused = true, NULL;
    held = held - before + size;
    memcpy(block, &size, sizeof size);
    return block + HEAD;
}

static void capped_free(void *old) {
    if (!old) return;
    char *block = (char *)old - HEAD;
    size_t size;
    memcpy(&size, block, sizeof size);
    held -= size;
    free(block);
}

/* To the end of the file: what the cut leaves unused or undefined is reported there. */
#pragma GCC diagnostic ignored "-Wunused-function"
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_NO_HDR
#define STBI_MAX_DIMENSIONS   IMAGE_MAX_SIDE
#define STBI_MALLOC(size)     capped_realloc(NULL, size)
#define STBI_REALLOC(p, size) capped_realloc(p, size)
#define STBI_FREE(p)          capped_free(p)
#include <stb_image.h>

bool stb_png_decode(const ImageFile *file, Image *image, Error *error) {
    int width = 0, height = 0, channels = 0;
    refused = false;
    uint8_t *decoded =
        stbi_load_from_memory(file->bytes, (int)file->size, &width, &height, &channels, 0);
    if (!decoded) {
        if (refused)
            return error_set(error, ERROR_INPUT,
                             "%s: decoding takes too much memory, expected at most %d bytes",
                             file->path, APPETITE);
        return error_set(error, ERROR_INPUT, "%s: PNG cannot be decoded: %s", file->path,
                         stbi_failure_reason());
    }
    /* the pixels are handed out in memory that free() takes */
    size_t bytes = (size_t)width * (size_t)height * (size_t)channels;
    uint8_t *pixels = malloc(bytes);
    if (pixels) *image = (Image){width, height, channels, memcpy(pixels, decoded, bytes)};
    stbi_image_free(decoded);
    return pixels ||
           error_set(error, ERROR_IO, "%s: no memory for %zu bytes of pixels", file->path, bytes);
}
