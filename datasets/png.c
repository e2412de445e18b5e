/* PNG through stb_image, which decodes well but trusts much: it checks neither checksum nor the
 * length of the pixel data, and reads palette entries that were never given. So the file is checked
 * here first, by zlib, and stb_image gets a copy with nothing in it but IHDR, a full PLTE, tRNS,
 * IDAT and IEND.
 *
 *     8 bytes of signature, then chunks: length 32 bits, type 4 letters, data [length], CRC 32 bits
 *     of type and data; IHDR comes first, IEND last; the IDAT data together are one zlib stream */
#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "datasets/image_format.h"

enum { SIGNATURE = 8, CHUNK_EXTRA = 12 /* length, type, CRC */, PALETTE = 256 * 3 };

typedef struct Chunk {
    const uint8_t *start; /* in the file, at the length */
    const char *type;     /* 4 letters, no end */
    const uint8_t *data;  /* [length] */
    uint32_t length;
} Chunk;

typedef struct Png {
    const ImageFile *file;
    size_t at;            /* of the next chunk */
    uint64_t pixel_bytes; /* what the IDAT stream must inflate to */
    bool header, palette; /* IHDR, PLTE was read */
    bool ended;           /* the IDAT stream has come to its end */
    z_stream inflater;
    uint8_t *copy; /* [copied], what stb_image will see */
    size_t copied;
} Png;

static bool is(const Chunk *chunk, const char *type) {
    return memcmp(chunk->type, type, 4) == 0;
}

static uint32_t big_endian(const uint8_t *p) {
    uint32_t value;
    memcpy(&value, p, sizeof value);
    return be32toh(value);
}

static bool bad(const Png *png, Error *error, const char *what) {
    return error_set(error, ERROR_INPUT, "%s: broken PNG: %s (offset %zu)", png->file->path, what,
                     png->at);
}

/* The chunk at png->at, whole and with the right CRC. */
static bool next_chunk(const Png *png, Chunk *chunk, Error *error) {
    const ImageFile *file = png->file;
    size_t left = file->size - png->at;
    if (left < CHUNK_EXTRA) return bad(png, error, "is truncated, expected a chunk");
    const uint8_t *p = file->bytes + png->at;
    *chunk = (Chunk){p, (const char *)p + 4, p + 8, big_endian(p)};
    for (int i = 0; i < 4; i++)
        if ((p[4 + i] | 32) < 'a' || (p[4 + i] | 32) > 'z')
            return bad(png, error, "expected a chunk, whose type is 4 letters");
    if (chunk->length > left - CHUNK_EXTRA)
        return error_set(error, ERROR_INPUT,
                         "%s: broken PNG: is truncated: chunk %.4s (offset %zu) declares %u bytes, "
                         "the file has %zu",
                         file->path, chunk->type, png->at, chunk->length, left - CHUNK_EXTRA);
    uint32_t expected = big_endian(chunk->data + chunk->length);
    uint32_t got = (uint32_t)crc32(0, p + 4, (uInt)chunk->length + 4);
    return got == expected ||
           error_set(error, ERROR_INPUT,
                     "%s: broken PNG: chunk %.4s (offset %zu) has a wrong checksum, expected %08x, "
                     "got %08x",
                     file->path, chunk->type, png->at, expected, got);
}

/* Bytes of all rows, each with its filter byte, of all passes: one, or the seven of Adam7
 * (PNG specification, section 8.2). Empty passes have no rows. */
static uint64_t filtered_size(uint32_t width, uint32_t height, uint32_t bits, bool interlaced) {
    static const uint32_t whole[1][4] = {{0, 0, 1, 1}}; /* x, y of the first pixel; steps in x, y */
    static const uint32_t adam7[7][4] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                         {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
    uint64_t size = 0;
    for (int i = 0; i < (interlaced ? 7 : 1); i++) {
        const uint32_t *pass = interlaced ? adam7[i] : whole[i];
        if (width <= pass[0] || height <= pass[1]) continue;
        uint64_t across = (width - pass[0] + pass[2] - 1) / pass[2];
        uint64_t rows = (height - pass[1] + pass[3] - 1) / pass[3];
        size += rows * (1 + (across * bits + 7) / 8);
    }
    return size;
}

static bool read_header(Png *png, const Chunk *chunk, Error *error) {
    static const struct {
        uint32_t channels, depths; /* depths: bit d is set where a depth of d is allowed */
    } colour_types[7] = {[0] = {1, 1 << 1 | 1 << 2 | 1 << 4 | 1 << 8 | 1 << 16},
                         [2] = {3, 1 << 8 | 1 << 16},
                         [3] = {1, 1 << 1 | 1 << 2 | 1 << 4 | 1 << 8},
                         [4] = {2, 1 << 8 | 1 << 16},
                         [6] = {4, 1 << 8 | 1 << 16}};
    if (png->header) return bad(png, error, "a second IHDR");
    if (chunk->length != 13) return bad(png, error, "IHDR is not 13 bytes long");
    uint32_t width = big_endian(chunk->data), height = big_endian(chunk->data + 4);
    uint32_t depth = chunk->data[8], colour = chunk->data[9], interlace = chunk->data[12];
    if (width < 1 || width > IMAGE_MAX_SIDE || height < 1 || height > IMAGE_MAX_SIDE)
        return error_set(error, ERROR_INPUT,
                         "%s: is %ux%u pixels (offset %zu), expected sides of 1 to %d",
                         png->file->path, width, height, png->at + 8, IMAGE_MAX_SIDE);
    if (colour > 6 || depth > 16 || !(colour_types[colour].depths >> depth & 1))
        return bad(png, error, "no such colour type and depth");
    if (interlace > 1) return bad(png, error, "no such interlacing");
    uint32_t bits = depth * colour_types[colour].channels;
    png->pixel_bytes = filtered_size(width, height, bits, interlace);
    png->header = true;
    return true;
}

/* Inflates one IDAT chunk into nothing, counting. */
static bool check_pixels(Png *png, const Chunk *chunk, Error *error) {
    z_stream *z = &png->inflater;
    uint8_t nowhere[1 << 14];
    z->next_in = (Bytef *)(uintptr_t)chunk->data; /* zlib's pointer is not const; it only reads */
    z->avail_in = chunk->length;
    while (z->avail_in > 0) {
        if (png->ended) return bad(png, error, "bytes after the end of the pixel data");
        z->next_out = nowhere;
        z->avail_out = sizeof nowhere;
        int status = inflate(z, Z_NO_FLUSH);
        if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
            return bad(png, error, z->msg ? z->msg : "pixel data that cannot be inflated");
        png->ended = status == Z_STREAM_END;
        if (z->total_out > png->pixel_bytes) return bad(png, error, "too much pixel data");
    }
    return true;
}

static void keep(Png *png, const void *bytes, size_t count) {
    memcpy(png->copy + png->copied, bytes, count);
    png->copied += count;
}

/* Indices past the palette's end are wrong, but occur: they become black. The CRC stays 0, for
 * stb_image does not read it. */
static bool keep_palette(Png *png, const Chunk *chunk, Error *error) {
    static const uint8_t head[8] = {0, 0, PALETTE >> 8, PALETTE & 255, 'P', 'L', 'T', 'E'};
    static const uint8_t black[PALETTE + 4];
    if (chunk->length > PALETTE || chunk->length % 3 != 0)
        return bad(png, error, "PLTE of a wrong length");
    if (png->palette) return bad(png, error, "a second PLTE");
    png->palette = true;
    keep(png, head, sizeof head);
    keep(png, chunk->data, chunk->length);
    keep(png, black, PALETTE - chunk->length + 4);
    return true;
}

static bool take_chunk(Png *png, const Chunk *chunk, Error *error) {
    if (!png->header && !is(chunk, "IHDR")) return bad(png, error, "expected IHDR first");
    if (is(chunk, "PLTE")) return keep_palette(png, chunk, error);
    if (is(chunk, "IHDR") && !read_header(png, chunk, error)) return false;
    if (is(chunk, "IDAT") && !check_pixels(png, chunk, error)) return false;
    bool known = is(chunk, "IHDR") || is(chunk, "IDAT") || is(chunk, "tRNS") || is(chunk, "IEND");
    bool critical = !(chunk->type[0] & 32); /* a capital: not to be ignored */
    if (known) keep(png, chunk->start, (size_t)chunk->length + CHUNK_EXTRA);
    return known || !critical || bad(png, error, "a chunk that cannot be ignored");
}

/* Walks to IEND; what may follow it is no part of the image. */
static bool check(Png *png, Error *error) {
    Chunk chunk = {0};
    keep(png, png->file->bytes, SIGNATURE);
    png->at = SIGNATURE;
    do {
        if (!next_chunk(png, &chunk, error) || !take_chunk(png, &chunk, error)) return false;
        png->at += (size_t)chunk.length + CHUNK_EXTRA;
    } while (!is(&chunk, "IEND"));
    return (png->ended && png->inflater.total_out == png->pixel_bytes) ||
           error_set(error, ERROR_INPUT,
                     "%s: broken PNG: its pixel data are too short, expected %llu bytes, got %lu",
                     png->file->path, (unsigned long long)png->pixel_bytes,
                     png->inflater.total_out);
}

bool png_decode(const ImageFile *file, Image *image, Error *error) {
    Png png = {.file = file, .copy = malloc(file->size + CHUNK_EXTRA + PALETTE)};
    bool ready = inflateInit(&png.inflater) == Z_OK && png.copy;
    bool ok = ready || error_set(error, ERROR_IO, "%s: no memory to read it", file->path);
    ok = ok && check(&png, error) &&
         stb_png_decode(&(ImageFile){file->path, png.copy, png.copied}, image, error);
    inflateEnd(&png.inflater);
    free(png.copy);
    return ok;
}
