/* What image_fit does to a picture, pixel by pixel, and what it says about it. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "datasets/dataset.h"
#include "datasets/image.h"
#include "tests/image_bytes.h"

/* Fits the image to channels x height x width and compares the pixels and what is told. */
static void expect_fit(Image image, int channels, int height, int width, bool dark_background,
                       const uint8_t *pixels, const char *story) {
    uint8_t fitted[64];
    char told[IMAGE_STORY];
    Error error = {0};
    assert_true(image_fit(&image, channels, height, width, dark_background, fitted, told, &error));
    assert_memory_equal(fitted, pixels, (size_t)(channels * height * width));
    assert_string_equal(told, story);
}

static void leaves_a_fitting_image_alone(void **state) {
    (void)state;
    uint8_t dark[] = {0, 1, 2, 3, 255, 4, 5, 6, 7}, bright[] = {200, 201, 202, 3};
    expect_fit((Image){3, 3, 1, dark}, 1, 3, 3, true, dark, "3x3 grey");
    expect_fit((Image){2, 2, 1, bright}, 1, 2, 2, false, bright, "2x2 grey");
    uint8_t rgb[] = {1, 2, 3, 4, 5, 6};
    expect_fit((Image){2, 1, 3, rgb}, 3, 1, 2, false, PIXELS(1, 4, 2, 5, 3, 6), "2x1 RGB");
}

static void leaves_fashion_mnist_alone(void **state) {
    (void)state;
    Error error = {0};
    Dataset *dataset = dataset_open(NULL, false, 2000, &error);
    if (!dataset) fail_msg("%s", error.message);
    for (int i = 0; i < dataset->count; i++) {
        uint8_t fitted[28 * 28];
        char told[IMAGE_STORY];
        Image image = {28, 28, 1, dataset->pixels + i * 28 * 28};
        assert_true(image_fit(&image, 1, 28, 28, true, fitted, told, &error));
        assert_memory_equal(fitted, dataset_image(dataset, i), sizeof fitted);
    }
    dataset_free(dataset);
}

static void inverts_a_bright_background(void **state) {
    (void)state;
    uint8_t ink[] = {255, 250, 255, 255, 10, 255, 255, 255, 255};
    expect_fit((Image){3, 3, 1, ink}, 1, 3, 3, true, PIXELS(0, 5, 0, 0, 245, 0, 0, 0, 0),
               "3x3 grey: inverted (bright background)");
    uint8_t brighter_inside[] = {140, 140, 140, 140, 250, 140, 140, 140, 140};
    expect_fit((Image){3, 3, 1, brighter_inside}, 1, 3, 3, true, brighter_inside, "3x3 grey");
    uint8_t flat[] = {255, 255, 255, 255};
    expect_fit((Image){2, 2, 1, flat}, 1, 2, 2, true, flat,
               "2x2 grey: not inverted (all pixels are equal, so the background is unknown)");
}

static void converts_colour(void **state) {
    (void)state;
    uint8_t rgb[] = {255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255}, grey[] = {9, 8};
    expect_fit((Image){4, 1, 3, rgb}, 1, 1, 4, false, PIXELS(76, 150, 29, 255), "4x1 RGB: to grey");
    expect_fit((Image){2, 1, 1, grey}, 3, 1, 2, false, PIXELS(9, 8, 9, 8, 9, 8),
               "2x1 grey: grey to RGB");
}

static void lays_alpha_on_what_shows_the_drawing(void **state) {
    (void)state;
    uint8_t dark[] = {10, 255, 10, 0, 10, 51}, bright[] = {250, 255, 250, 0, 250, 51};
    expect_fit((Image){3, 1, 2, dark}, 1, 1, 3, false, PIXELS(10, 255, 206),
               "3x1 grey with alpha: laid on white");
    expect_fit((Image){3, 1, 2, bright}, 1, 1, 3, false, PIXELS(250, 0, 50),
               "3x1 grey with alpha: laid on black");
    uint8_t rgba[] = {0, 0, 0, 255, 90, 0, 0, 0};
    expect_fit((Image){2, 1, 4, rgba}, 1, 1, 2, true, PIXELS(0, 255),
               "2x1 RGB with alpha: laid on white, to grey");
}

static void averages_by_area_and_centres(void **state) {
    (void)state;
    uint8_t wide[] = {0, 2, 30, 40, 7, 7, 4, 6, 50, 60, 7, 7}; /* 6x2 */
    /* border: all 12 pixels, mean 220/12; means of 2x2: 12/4, 180/4, 28/4 */
    expect_fit((Image){6, 2, 1, wide}, 1, 3, 3, false, PIXELS(18, 18, 18, 3, 45, 7, 18, 18, 18),
               "6x2 grey: scaled to 3x1 and centred");
    uint8_t three[] = {0, 90, 255}; /* to two: (2a + b)/3 and (b + 2c)/3 */
    expect_fit((Image){3, 1, 1, three}, 1, 1, 2, false, PIXELS(30, 200), "3x1 grey: scaled to 2x1");
    uint8_t two[] = {1, 2, 3, 4};
    expect_fit((Image){2, 2, 1, two}, 1, 4, 4, false,
               PIXELS(1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4), "2x2 grey: scaled to 4x4");
    uint8_t one[] = {77};
    expect_fit((Image){1, 1, 1, one}, 1, 2, 3, false, PIXELS(77, 77, 77, 77, 77, 77),
               "1x1 grey: scaled to 2x2 and centred");
    uint8_t line[4096];
    memset(line, 9, sizeof line);
    expect_fit((Image){4096, 1, 1, line}, 1, 4, 4, false,
               PIXELS(9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9),
               "4096x1 grey: scaled to 4x1 and centred");
}

static void tells_all_of_it(void **state) {
    (void)state;
    uint8_t rgba[5 * 3 * 4]; /* white with a black middle, one corner not quite opaque */
    memset(rgba, 255, sizeof rgba);
    memset(rgba + 7 * 4, 0, 3);
    rgba[3] = 254;
    uint8_t fitted[5 * 5];
    char told[IMAGE_STORY];
    assert_true(image_fit(&(Image){5, 3, 4, rgba}, 1, 5, 5, true, fitted, told, &(Error){0}));
    assert_string_equal(told, "5x3 RGB with alpha: laid on black, to grey, scaled to 5x3 and "
                              "centred, inverted (bright background)");
    assert_int_equal(fitted[12], 255);
}

static void refuses_other_numbers_of_channels(void **state) {
    (void)state;
    uint8_t pixel[] = {1}, fitted[2];
    char told[IMAGE_STORY];
    Error error = {0};
    assert_false(image_fit(&(Image){1, 1, 1, pixel}, 2, 1, 1, false, fitted, told, &error));
    assert_error(&error, ERROR_INPUT, "an image has 1 or 3 channels, the network's input has 2");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_a_fitting_image_alone),
        cmocka_unit_test(leaves_fashion_mnist_alone),
        cmocka_unit_test(inverts_a_bright_background),
        cmocka_unit_test(converts_colour),
        cmocka_unit_test(lays_alpha_on_what_shows_the_drawing),
        cmocka_unit_test(averages_by_area_and_centres),
        cmocka_unit_test(tells_all_of_it),
        cmocka_unit_test(refuses_other_numbers_of_channels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
