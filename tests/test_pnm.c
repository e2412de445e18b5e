/* Images of the user's: what PGM and PPM decode to, how broken ones are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "datasets/image.h"
#include "tests/image_bytes.h"

static void decodes_pgm_and_ppm(void **state) {
    (void)state;
    Bytes file = bytes_of("P2\n# a comment\n3 1 # and one here\n4\n0 1\n4\n");
    expect_pixels(&file, 3, 1, 1, PIXELS(0, 64, 255));
    file = bytes_of("P3 1 1 255 1 2 3");
    expect_pixels(&file, 1, 1, 3, PIXELS(1, 2, 3));
    file = bytes_of("P5 2 1 255\n\n#");
    expect_pixels(&file, 2, 1, 1, PIXELS('\n', '#')); /* one white space, then only bytes */
    file = bytes_of("P6\n1 1\n255\nabc\n");
    expect_pixels(&file, 1, 1, 3, PIXELS('a', 'b', 'c'));
    file = bytes_of("P5 2 1 65535 ");
    bytes_add(&file, "\x80\x00\xff\xff", 4);
    expect_pixels(&file, 2, 1, 1, PIXELS(128, 255));
}

static void refuses_broken_pgm(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"P5", "expected a width (offset 2), got the end of the file"},
        {"P5 2", "expected a height (offset 4), got the end of the file"},
        {"P5 2 2", "expected a largest value (offset 6), got the end"},
        {"P5 2 2 # no end", "expected a largest value"},
        {"P5 0 2 255 ", "expected a width of 1 to 4096 (offset 3), got 0"},
        {"P5 4097 1 255 ", "expected a width of 1 to 4096 (offset 3), got 4097"},
        {"P5 1 -1 255 ", "expected a height (offset 5), got no digit"},
        {"P5 12345678901234567890 1 255 ", "(offset 3), got 12345678901234567890"},
        {"P5 18446744073709551617 1 255 ", "(offset 3), got 18446744073709551617"},
        {"P5 1 1 0 x", "expected a largest value of 1 to 65535 (offset 7), got 0"},
        {"P5 1 1 65536 xx", "expected a largest value of 1 to 65535 (offset 7), got 65536"},
        {"P5 1 1 255x", "expected white space after the header (offset 10)"},
        {"P5 4096 4096 255 x",
         "its raster is too short (offset 17): expected 16777216 bytes, got 1"},
        {"P5 2 1 255 x", "its raster is too short (offset 11): expected 2 bytes, got 1"},
        {"P5 2 1 256 xyz", "expected 4 bytes, got 3"},
        {"P6 1 1 255 xy", "expected 3 bytes, got 2"},
        {"P5 1 1 9 x", "sample 120 (offset 9), expected at most 9"},
        {"P5 1 1 255 xy", "has 1 bytes after its raster (offset 12)"},
        {"P2 2 2 255 1 2 3", "(offset 11): expected at least 7 bytes, got 5"},
        {"P2 2 1 255 111", "expected a sample (offset 14), got the end of the file"},
        {"P2 2 1 255 1 256", "expected a sample of 0 to 255 (offset 13), got 256"},
        {"P2 2 1 255 1 x2", "expected a sample (offset 13), got no digit"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bytes file = bytes_of(cases[i][0]);
        expect_refused(&file, cases[i][1]);
    }
}

/* Whatever byte stands wherever: an image or ERROR_INPUT. */
static void survives_every_mutation_of_a_pgm(void **state) {
    (void)state;
    static const char *const files[] = {"P2 2 1 99 1 23", "P5 2 1 300 \1\2\1\3"};
    int decoded = 0;
    for (int f = 0; f < 2; f++)
        for (size_t at = 2; at < strlen(files[f]); at++)
            for (int value = 0; value < 256; value += 5) {
                Bytes mutant = bytes_of(files[f]);
                mutant.data[at] = (uint8_t)value;
                scratch_write("image", &mutant);
                Error error = {0};
                Image image;
                bool ok = image_open(scratch_path("image"), &image, &error);
                assert_int_equal(error.code, ok ? ERROR_NONE : ERROR_INPUT);
                assert_int_equal(ok, image.pixels != NULL);
                decoded += ok;
                image_free(&image);
            }
    assert_in_range(decoded, 1, 2 * 12 * 52 - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_pgm_and_ppm),
        cmocka_unit_test(refuses_broken_pgm),
        cmocka_unit_test(survives_every_mutation_of_a_pgm),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
