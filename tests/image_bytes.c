#include "tests/image_bytes.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <zlib.h>

#include "datasets/image.h"

void expect_pixels(const Bytes *file, int width, int height, int channels, const uint8_t *pixels) {
    Error error = {0};
    Image image;
    scratch_write("image", file);
    if (!image_open(scratch_path("image"), &image, &error)) fail_msg("%s", error.message);
    assert_int_equal(image.width, width);
    assert_int_equal(image.height, height);
    assert_int_equal(image.channels, channels);
    assert_memory_equal(image.pixels, pixels, (size_t)(width * height * channels));
    image_free(&image);
}

void expect_refused(const Bytes *file, const char *fragment) {
    Error error = {0};
    Image image;
    scratch_write("image", file);
    assert_false(image_open(scratch_path("image"), &image, &error));
    assert_error(&error, ERROR_INPUT, fragment);
    assert_error(&error, ERROR_INPUT, scratch_path("image"));
    assert_null(image.pixels);
}

Bytes bytes_of(const char *text) {
    Bytes bytes = {0};
    bytes_text(&bytes, text);
    return bytes;
}

void png_chunk(Bytes *png, const char *type, const void *data, size_t count) {
    bytes_u32(png, (uint32_t)count);
    size_t begin = png->count;
    bytes_text(png, type);
    bytes_add(png, data, count);
    bytes_u32(png, (uint32_t)crc32(0, png->data + begin, (uInt)(png->count - begin)));
}
