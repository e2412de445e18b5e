/* Images of the user's: what PNG decodes to, how broken files and files of other formats
 * are refused. PGM and PPM: test_pnm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

#include "datasets/image.h"
#include "tests/image_bytes.h"

/* ---- PNG ---- */

static const char signature[] = "\x89PNG\r\n\x1a\n";

typedef struct Header {
    uint32_t width, height;
    uint8_t depth, colour, interlace;
} Header;

static void add_header(Bytes *png, Header header) {
    Bytes data = {0};
    bytes_u32(&data, header.width);
    bytes_u32(&data, header.height);
    bytes_add(&data, (uint8_t[]){header.depth, header.colour, 0, 0, header.interlace}, 5);
    png_chunk(png, "IHDR", data.data, data.count);
}

/* Signature and header; then the caller's chunks; then finish_png. */
static Bytes begin_png(Header header) {
    Bytes png = bytes_of(signature);
    add_header(&png, header);
    return png;
}

/* IDAT with these filtered rows, and IEND. */
static Bytes finish_png(Bytes png, const void *rows, size_t count) {
    Bytes raw = {0};
    bytes_add(&raw, rows, count);
    Bytes packed = bytes_zlib(&raw);
    png_chunk(&png, "IDAT", packed.data, packed.count);
    png_chunk(&png, "IEND", "", 0);
    return png;
}

#define ROWS(...) (uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__})
static Bytes small_png(void) {
    return finish_png(begin_png((Header){2, 2, 8, 0, 0}), ROWS(0, 10, 20, 0, 30, 40));
}

static void decodes_each_kind_of_png(void **state) {
    (void)state;
    Bytes png = small_png();
    expect_pixels(&png, 2, 2, 1, PIXELS(10, 20, 30, 40));
    bytes_text(&png, "what follows IEND is no part of the image");
    expect_pixels(&png, 2, 2, 1, PIXELS(10, 20, 30, 40));

    png = finish_png(begin_png((Header){3, 1, 1, 0, 0}), ROWS(0, 0xa0));
    expect_pixels(&png, 3, 1, 1, PIXELS(255, 0, 255));
    png = finish_png(begin_png((Header){4, 1, 2, 0, 0}), ROWS(0, 0x1b));
    expect_pixels(&png, 4, 1, 1, PIXELS(0, 85, 170, 255));
    png = finish_png(begin_png((Header){2, 1, 4, 0, 0}), ROWS(0, 0x1f));
    expect_pixels(&png, 2, 1, 1, PIXELS(17, 255));
    png = finish_png(begin_png((Header){2, 1, 16, 0, 0}), ROWS(0, 0x12, 0x34, 0xff, 0xff));
    expect_pixels(&png, 2, 1, 1, PIXELS(0x12, 255));
    png = finish_png(begin_png((Header){1, 1, 8, 2, 0}), ROWS(0, 1, 2, 3));
    expect_pixels(&png, 1, 1, 3, PIXELS(1, 2, 3));
    png = finish_png(begin_png((Header){1, 1, 8, 4, 0}), ROWS(0, 1, 2));
    expect_pixels(&png, 1, 1, 2, PIXELS(1, 2));
    png = finish_png(begin_png((Header){1, 2, 8, 6, 0}), ROWS(0, 1, 2, 3, 4, 2, 1, 1, 1, 1));
    expect_pixels(&png, 1, 2, 4, PIXELS(1, 2, 3, 4, 2, 3, 4, 5)); /* row 1 filtered by "up" */
    uint8_t rows[4097] = {0};
    png = finish_png(begin_png((Header){4096, 1, 8, 0, 0}), rows, 4097);
    expect_pixels(&png, 4096, 1, 1, rows + 1);
}

static void decodes_interlaced_png(void **state) {
    (void)state;
    /* pass 1 has (0,0), pass 4 (2,0), pass 5 (0,2) (2,2), pass 6 (1,0) and (1,2), pass 7 row 1 */
    Bytes png = finish_png(begin_png((Header){3, 3, 8, 0, 1}),
                           ROWS(0, 1, 0, 3, 0, 7, 9, 0, 2, 0, 8, 0, 4, 5, 6));
    expect_pixels(&png, 3, 3, 1, PIXELS(1, 2, 3, 4, 5, 6, 7, 8, 9));
}

static void decodes_palettes_and_transparency(void **state) {
    (void)state;
    Bytes png = begin_png((Header){3, 1, 8, 3, 0});
    png_chunk(&png, "PLTE", "\1\2\3\4\5\6", 6);
    Bytes plain = finish_png(png, ROWS(0, 1, 0, 200)); /* 200 is past the palette: black */
    expect_pixels(&plain, 3, 1, 3, PIXELS(4, 5, 6, 1, 2, 3, 0, 0, 0));
    png_chunk(&png, "tRNS", "\x80", 1);
    Bytes clear = finish_png(png, ROWS(0, 1, 0, 1));
    expect_pixels(&clear, 3, 1, 4, PIXELS(4, 5, 6, 255, 1, 2, 3, 128, 4, 5, 6, 255));
    Bytes grey = begin_png((Header){2, 1, 8, 0, 0});
    png_chunk(&grey, "tRNS", "\0\7", 2);
    grey = finish_png(grey, ROWS(0, 7, 8));
    expect_pixels(&grey, 2, 1, 2, PIXELS(7, 0, 8, 255));
}

static void refuses_wrong_png_headers(void **state) {
    (void)state;
    static const struct {
        Header header;
        const char *fragment;
    } cases[] = {
        {{0, 0, 8, 0, 0}, "is 0x0 pixels (offset 16), expected sides of 1 to 4096"},
        {{1, 0, 8, 0, 0}, "is 1x0 pixels"},
        {{4097, 1, 8, 0, 0}, "is 4097x1 pixels"},
        {{1, 4097, 8, 0, 0}, "is 1x4097 pixels"},
        {{100000, 100000, 8, 0, 0}, "is 100000x100000 pixels"},
        {{0xffffffff, 1, 8, 0, 0}, "is 4294967295x1 pixels"},
        {{2, 2, 3, 0, 0}, "no such colour type and depth (offset 8)"},
        {{2, 2, 0, 0, 0}, "no such colour type and depth"},
        {{2, 2, 255, 0, 0}, "no such colour type and depth"},
        {{2, 2, 8, 1, 0}, "no such colour type and depth"},
        {{2, 2, 8, 5, 0}, "no such colour type and depth"},
        {{2, 2, 8, 7, 0}, "no such colour type and depth"},
        {{2, 2, 8, 255, 0}, "no such colour type and depth"},
        {{2, 2, 4, 2, 0}, "no such colour type and depth"},
        {{2, 2, 16, 3, 0}, "no such colour type and depth"},
        {{2, 2, 8, 0, 2}, "no such interlacing"},
        {{3, 2, 8, 0, 0}, "its pixel data are too short, expected 8 bytes, got 6"},
        {{2, 1, 8, 0, 0}, "too much pixel data"},
        {{2, 2, 8, 3, 0}, "PNG cannot be decoded: no PLTE"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bytes png = finish_png(begin_png(cases[i].header), ROWS(0, 1, 2, 0, 3, 4));
        expect_refused(&png, cases[i].fragment);
    }
}

static void refuses_wrong_png_chunks(void **state) {
    (void)state;
    const Header header = {2, 2, 8, 0, 0};
    Bytes png = bytes_of(signature);
    png_chunk(&png, "IEND", "", 0);
    expect_refused(&png, "expected IHDR first (offset 8)");

    png = bytes_of(signature);
    png_chunk(&png, "IHDR", "123456789012", 12);
    expect_refused(&png, "IHDR is not 13 bytes long");

    png = begin_png(header);
    add_header(&png, header);
    expect_refused(&png, "a second IHDR (offset 33)");

    png = begin_png(header);
    png_chunk(&png, "PLTE", "12345", 5);
    expect_refused(&png, "PLTE of a wrong length (offset 33)");

    png = begin_png(header);
    png_chunk(&png, "PLTE", "123", 3);
    png_chunk(&png, "PLTE", "123", 3);
    expect_refused(&png, "a second PLTE");

    png = begin_png(header);
    png_chunk(&png, "NEWX", "", 0);
    expect_refused(&png, "a chunk that cannot be ignored");

    png = begin_png(header);
    png_chunk(&png, "neWx", "ignored", 7);
    png = finish_png(png, ROWS(0, 10, 20, 0, 30, 40));
    expect_pixels(&png, 2, 2, 1, PIXELS(10, 20, 30, 40));

    png = begin_png(header);
    png_chunk(&png, "IEND", "", 0);
    expect_refused(&png, "its pixel data are too short, expected 6 bytes, got 0");

    png = begin_png(header);
    bytes_u32(&png, 1u << 31);
    bytes_text(&png, "IDAT1234");
    expect_refused(&png, "chunk IDAT (offset 33) declares 2147483648 bytes, the file has 0");

    png = begin_png(header);
    bytes_text(&png, "0123456789ab");
    expect_refused(&png, "expected a chunk, whose type is 4 letters (offset 33)");

    png = begin_png((Header){1, 1, 8, 4, 0});
    png_chunk(&png, "tRNS", "\0\0", 2);
    png = finish_png(png, ROWS(0, 1, 2));
    expect_refused(&png, "PNG cannot be decoded: tRNS with alpha");
}

static void refuses_wrong_pixel_data(void **state) {
    (void)state;
    static const struct {
        const char *data;
        size_t count;
        const char *fragment;
    } cases[] = {
        {"no zlib", 7, "incorrect header check (offset 33)"},
        {"\x78\x01\x07", 3, "invalid block type"},
        {"\x78\x01\x4b\x04\x3e\0\0\0\0", 9, "invalid distance code"}, /* code 30, RFC 1951 3.2.6 */
        {"\x78\x01\x01\6\0\xf9\xff\0\1\2\0\3\4\0\0\0\0", 17, "incorrect data check"},
        {"\x78\x01\x01\6\0\xf9\xff\0\1\2\0\3\4", 13, "its pixel data are too short"},
        {"\x78\x01\x01\6\0\xf9\xff\0\1\2\0\3\4\0\x1d\0\x0bx", 18,
         "bytes after the end of the pixel"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bytes png = begin_png((Header){2, 2, 8, 0, 0});
        png_chunk(&png, "IDAT", cases[i].data, cases[i].count);
        png_chunk(&png, "IEND", "", 0);
        expect_refused(&png, cases[i].fragment);
    }
    Bytes png = finish_png(begin_png((Header){2, 2, 8, 0, 0}), ROWS(9, 1, 2, 0, 3, 4));
    expect_refused(&png, "PNG cannot be decoded: invalid filter");
}

/* Every byte stands under a checksum: no truncation and no flip goes unseen. */
static void refuses_every_mutation_of_a_png(void **state) {
    (void)state;
    Bytes png = small_png();
    for (size_t length = 0; length < png.count; length++) {
        Bytes cut = png;
        cut.count = length;
        expect_refused(&cut, "");
    }
    for (size_t at = 0; at < png.count; at++) {
        Bytes flipped = png;
        flipped.data[at] ^= 0x10;
        expect_refused(&flipped, "");
    }
}

/* A file of some 100 KB that decodes to 100 MB twice over. */
static void limits_the_memory_of_a_png(void **state) {
    (void)state;
    enum { WIDTH = 4096, HEIGHT = 3200, ROW = 1 + 8 * WIDTH, ROOM = 1 << 20 };
    uint8_t *packed = malloc(ROOM), *row = calloc(1, ROW);
    z_stream z = {0};
    assert_int_equal(deflateInit(&z, 1), Z_OK);
    memcpy(packed, "IDAT", 4);
    z.next_out = packed + 4;
    z.avail_out = ROOM - 4;
    for (int y = 0; y < HEIGHT; y++) {
        z.next_in = row;
        z.avail_in = ROW;
        deflate(&z, y < HEIGHT - 1 ? Z_NO_FLUSH : Z_FINISH);
    }
    size_t count = z.total_out;
    assert_int_equal(deflateEnd(&z), Z_OK);

    Bytes head = begin_png((Header){WIDTH, HEIGHT, 16, 6, 0}), tail = {0};
    bytes_u32(&head, (uint32_t)count);
    bytes_u32(&tail, (uint32_t)crc32(0, packed, (uInt)count + 4));
    png_chunk(&tail, "IEND", "", 0);
    FILE *f = fopen(scratch_path("bomb"), "wb");
    fwrite(head.data, 1, head.count, f);
    fwrite(packed, 1, count + 4, f);
    fwrite(tail.data, 1, tail.count, f);
    assert_int_equal(fclose(f), 0);
    free(packed);
    free(row);
    Error error = {0};
    Image image;
    assert_false(image_open(scratch_path("bomb"), &image, &error));
    assert_error(&error, ERROR_INPUT, "decoding takes too much memory");
    Bytes png = small_png(); /* all of it was given back */
    expect_pixels(&png, 2, 2, 1, PIXELS(10, 20, 30, 40));
}

/* ---- files that are something else ---- */

static void names_other_formats(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"\xff\xd8\xff\xe0 JFIF", "is a JPEG image (offset 0), expected PNG, PGM or PPM: convert"},
        {"GIF89a", "is a GIF image"},
        {"RIFF1234WEBPVP8 ", "is a WebP image"},
        {"BM123456", "is a BMP image"},
        {"%PDF-1.4", "is a PDF document"},
        {"<!DOCTYPE html>", "is an HTML, XML or SVG page"},
        {"P4 1 1 x", "is a PBM bitmap"},
        {"P7\nWIDTH 1", "is a PAM image"},
        {"hello", "is no image known here"},
        {"P", "is no image known here"},
        {"", "is empty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bytes file = bytes_of(cases[i][0]);
        expect_refused(&file, cases[i][1]);
    }
}

static void refuses_what_is_no_image_file(void **state) {
    (void)state;
    Error missing = {0}, folder = {0}, large = {0};
    Image image;
    assert_false(image_open(scratch_path("nowhere"), &image, &missing));
    assert_error(&missing, ERROR_IO, "nowhere: No such file or directory");
    assert_false(image_open(scratch_path(""), &image, &folder));
    assert_error(&folder, ERROR_IO, "is a folder, expected a regular file");
    Bytes png = small_png();
    scratch_write("large", &png);
    assert_int_equal(truncate(scratch_path("large"), IMAGE_MAX_FILE), 0);
    assert_true(image_open(scratch_path("large"), &image, &large));
    image_free(&image);
    assert_int_equal(truncate(scratch_path("large"), IMAGE_MAX_FILE + 1), 0);
    assert_false(image_open(scratch_path("large"), &image, &large));
    assert_error(&large, ERROR_INPUT, "is too large for an image, expected at most 16777216 bytes");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_each_kind_of_png),
        cmocka_unit_test(decodes_interlaced_png),
        cmocka_unit_test(decodes_palettes_and_transparency),
        cmocka_unit_test(refuses_wrong_png_headers),
        cmocka_unit_test(refuses_wrong_png_chunks),
        cmocka_unit_test(refuses_wrong_pixel_data),
        cmocka_unit_test(refuses_every_mutation_of_a_png),
        cmocka_unit_test(limits_the_memory_of_a_png),
        cmocka_unit_test(names_other_formats),
        cmocka_unit_test(refuses_what_is_no_image_file),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
