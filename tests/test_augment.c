/* Augmentation: what each one does to the pixels, and of what it is a function. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "datasets/loader.h"
#include "tests/scratch.h"

enum {
    CHANNELS = 2,
    HEIGHT = 9,
    WIDTH = 11,
    PLANE = HEIGHT * WIDTH,
    IMAGE = CHANNELS * PLANE,
    TRIALS = 400
};

static const uint8_t means[CHANNELS] = {253, 254}; /* no pixel is 0 or a mean */
static const AugmentSize size = {CHANNELS, HEIGHT, WIDTH, means};
static uint8_t image[IMAGE];

static int fill(void **state) {
    (void)state;
    for (int i = 0; i < IMAGE; i++) image[i] = (uint8_t)(1 + i); /* all different */
    return 0;
}

static Augmentations set_of(const char *words) {
    Augmentations set;
    Error error = {0};
    if (!augment_parse(words, &set, &error)) fail_msg("%s", error.message);
    return set;
}

static void augment(const char *words, uint64_t seed, uint64_t epoch, uint64_t index,
                    uint8_t result[IMAGE]) {
    uint8_t first[IMAGE], second[IMAGE];
    uint8_t *const buffer[2] = {first, second};
    memcpy(result, augment_image(set_of(words), &size, seed, epoch, index, image, buffer), IMAGE);
}

static uint8_t at(const uint8_t *pixels, int c, int y, int x) {
    return pixels[c * PLANE + y * WIDTH + x];
}

static void a_list_of_words_is_a_set(void **state) {
    (void)state;
    assert_int_equal(set_of("flip") | set_of("crop"), set_of("crop,flip"));
    assert_int_equal(set_of("flip,shift,crop,cutout"), 15);
    assert_int_equal(set_of("flip,flip"), set_of("flip"));
    static const char *const wrong[] = {"",           "flop", "flip,", ",flip",
                                        "flip, crop", "fli",  "flipp", "Flip"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        Augmentations set;
        Error error = {0};
        assert_false(augment_parse(wrong[i], &set, &error));
        assert_error(&error, ERROR_USAGE, "there are flip, shift, crop and cutout");
    }
}

static void without_words_nothing_happens(void **state) {
    (void)state;
    assert_ptr_equal(augment_image(0, &size, 1, 2, 3, image, (uint8_t *const[2]){NULL, NULL}),
                     image);
}

static void flip_mirrors_half_of_the_images(void **state) {
    (void)state;
    int mirrored = 0;
    for (uint64_t i = 0; i < TRIALS; i++) {
        uint8_t result[IMAGE];
        augment("flip", 1, 0, i, result);
        bool same = memcmp(result, image, IMAGE) == 0;
        for (int k = 0; !same && k < IMAGE; k++)
            assert_int_equal(result[k], image[k / WIDTH * WIDTH + WIDTH - 1 - k % WIDTH]);
        mirrored += !same;
    }
    assert_in_range(mirrored, TRIALS / 2 - 50, TRIALS / 2 + 50); /* 5 standard deviations */
}

/* Is `result` the image moved by (dy, dx), with 0 where nothing came from? */
static bool is_shifted(const uint8_t *result, int dy, int dx) {
    for (int k = 0; k < IMAGE; k++) {
        int y = k % PLANE / WIDTH - dy, x = k % WIDTH - dx;
        bool inside = y >= 0 && y < HEIGHT && x >= 0 && x < WIDTH;
        if (result[k] != (inside ? at(image, k / PLANE, y, x) : 0)) return false;
    }
    return true;
}

static void shift_moves_by_up_to_two(void **state) {
    (void)state;
    int seen[5][5] = {{0}};
    for (uint64_t i = 0; i < TRIALS; i++) {
        uint8_t result[IMAGE];
        int found = 0;
        augment("shift", 1, 0, i, result);
        for (int d = 0; d < 25; d++)
            if (is_shifted(result, d / 5 - 2, d % 5 - 2)) found++, seen[d / 5][d % 5]++;
        assert_int_equal(found, 1);
    }
    for (int d = 0; d < 25; d++) assert_true(seen[d / 5][d % 5] > 0);
}

/* Rows and columns of the result are rows and columns of the image, in order, none skipped by more
 * than one. */
static void crop_stretches_a_window(void **state) {
    (void)state;
    bool moved = false;
    for (uint64_t i = 0; i < TRIALS; i++) {
        uint8_t result[IMAGE];
        augment("crop", 1, 0, i, result);
        int row[HEIGHT], column[WIDTH];
        for (int y = 0; y < HEIGHT; y++) row[y] = (at(result, 0, y, 0) - 1) / WIDTH;
        for (int x = 0; x < WIDTH; x++) column[x] = (at(result, 0, 0, x) - 1) % WIDTH;
        for (int k = 0; k < IMAGE; k++)
            assert_int_equal(result[k],
                             at(image, k / PLANE, row[k % PLANE / WIDTH], column[k % WIDTH]));
        for (int y = 1; y < HEIGHT; y++) assert_in_range(row[y] - row[y - 1], 0, 1);
        for (int x = 1; x < WIDTH; x++) assert_in_range(column[x] - column[x - 1], 0, 1);
        assert_true(row[HEIGHT - 1] - row[0] + 1 >= HEIGHT * 4 / 5);
        assert_true(column[WIDTH - 1] - column[0] + 1 >= WIDTH * 4 / 5);
        moved = moved || row[0] > 0;
    }
    assert_true(moved);
}

static void cutout_sets_one_square_to_the_mean(void **state) {
    (void)state;
    enum { SIDE = HEIGHT / 4 };
    for (uint64_t i = 0; i < TRIALS; i++) {
        uint8_t result[IMAGE];
        augment("cutout", 1, 0, i, result);
        int top = HEIGHT, left = WIDTH;
        for (int k = PLANE - 1; k >= 0; k--)
            if (result[k] != image[k]) {
                top = k / WIDTH;
                left = k % WIDTH < left ? k % WIDTH : left;
            }
        assert_true(top + SIDE <= HEIGHT && left + SIDE <= WIDTH);
        for (int k = 0; k < IMAGE; k++) {
            int y = k % PLANE / WIDTH, x = k % WIDTH;
            bool cut = y >= top && y < top + SIDE && x >= left && x < left + SIDE;
            assert_int_equal(result[k], cut ? means[k / PLANE] : image[k]);
        }
    }
}

static void it_is_a_function_of_seed_epoch_and_index(void **state) {
    (void)state;
    uint8_t one[IMAGE], other[IMAGE];
    int differ[3] = {0};
    for (uint64_t i = 0; i < 100; i++) {
        augment("flip,shift,crop,cutout", 7, 3, i, one);
        augment("cutout,crop,shift,flip", 7, 3, i, other);
        assert_memory_equal(one, other, IMAGE);
        for (int k = 0; k < 3; k++) {
            augment("flip,shift,crop,cutout", 7 + (k == 0), 3 + (k == 1), i + (k == 2), other);
            differ[k] += memcmp(one, other, IMAGE) != 0;
        }
    }
    for (int k = 0; k < 3; k++) assert_true(differ[k] > 90);
}

static void tiny_images_stay_whole(void **state) {
    (void)state;
    static const AugmentSize tiny = {1, 1, 2, means};
    uint8_t first[2], second[2], pixels[2] = {5, 6};
    for (uint64_t i = 0; i < 50; i++) {
        const uint8_t *result =
            augment_image(15, &tiny, 1, 0, i, pixels, (uint8_t *const[2]){first, second});
        assert_true(result[0] == 0 || result[0] == 5 || result[0] == 6);
    }
}

/* The loader's image is the augmented one of its index, wherever it stands in the epoch's order. */
static void the_loader_applies_it(void **state) {
    (void)state;
    enum { COUNT = 7, BATCH = 3 };
    uint8_t pixels[COUNT * IMAGE], labels[COUNT];
    for (int i = 0; i < COUNT; i++)
        memcpy(pixels + i * IMAGE, image, IMAGE), labels[i] = (uint8_t)i;
    Dataset data = {COUNT, CHANNELS, HEIGHT, WIDTH, 10, pixels, labels, NULL, NULL};
    Normalization normalization = {CHANNELS, {253.0f / 255, 254.0f / 255}, {0.5f, 0.5f}};
    Loader *loader = loader_new(&data, &normalization, BATCH, 9, true, NULL);
    Loader *plain = loader_new(&data, &normalization, BATCH, 9, true, NULL);
    loader_augment(loader, set_of("shift,cutout"));
    float x[BATCH * IMAGE], unchanged[BATCH * IMAGE];
    int label[BATCH], plain_label[BATCH];
    for (uint64_t epoch = 0; epoch < 3; epoch++)
        for (int step = 2; step >= 0; step--) {
            int n = loader_batch(loader, epoch, step, x, label);
            assert_int_equal(loader_batch(plain, epoch, step, unchanged, plain_label), n);
            assert_memory_equal(label, plain_label, sizeof *label * (size_t)n);
            for (int i = 0; i < n; i++) {
                uint8_t expected[IMAGE];
                augment("shift,cutout", 9, epoch, (uint64_t)label[i], expected);
                for (int k = 0; k < IMAGE; k++) {
                    float mean = normalization.mean[k / PLANE];
                    assert_true(x[i * IMAGE + k] == normalize_byte(expected[k], mean, 0.5f));
                    assert_true(unchanged[i * IMAGE + k] == normalize_byte(image[k], mean, 0.5f));
                }
            }
        }
    loader_free(loader);
    loader_free(plain);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_of_words_is_a_set),
        cmocka_unit_test(without_words_nothing_happens),
        cmocka_unit_test(flip_mirrors_half_of_the_images),
        cmocka_unit_test(shift_moves_by_up_to_two),
        cmocka_unit_test(crop_stretches_a_window),
        cmocka_unit_test(cutout_sets_one_square_to_the_mean),
        cmocka_unit_test(it_is_a_function_of_seed_epoch_and_index),
        cmocka_unit_test(tiny_images_stay_whole),
        cmocka_unit_test(the_loader_applies_it),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
