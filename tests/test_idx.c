/* IDX files: what is read, and every way in which a file can be wrong, each with its code and
 * reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "datasets/dataset.h"
#include "tests/scratch.h"

#define IMAGES "train-images-idx3-ubyte"
#define LABELS "train-labels-idx1-ubyte"

enum { COUNT = 3, HEIGHT = 2, WIDTH = 4, PIXELS = COUNT * HEIGHT * WIDTH };
enum { IMAGES_HEADER = 16, LABELS_HEADER = 8 };

/* magic, then the dimensions, no payload */
static Bytes header(uint32_t magic, int rank, const uint32_t *dim) {
    Bytes bytes = {0};
    bytes_u32(&bytes, magic);
    for (int i = 0; i < rank; i++) bytes_u32(&bytes, dim[i]);
    return bytes;
}

/* pixel k is 10 k, label i is 7 - i */
static Bytes good_images(void) {
    Bytes bytes = header(0x0803, 3, (uint32_t[]){COUNT, HEIGHT, WIDTH});
    for (int k = 0; k < PIXELS; k++) bytes.data[bytes.count++] = (uint8_t)(10 * k);
    return bytes;
}

static Bytes good_labels(void) {
    Bytes bytes = header(0x0801, 1, (uint32_t[]){COUNT});
    for (int i = 0; i < COUNT; i++) bytes.data[bytes.count++] = (uint8_t)(7 - i);
    return bytes;
}

static void expect_good(int limit, int count) {
    Error error = {0};
    Dataset *dataset = dataset_open(scratch_path(""), true, limit, &error);
    if (!dataset) fail_msg("%s", error.message);
    assert_int_equal(dataset->count, count);
    assert_int_equal(dataset->channels, 1);
    assert_int_equal(dataset->height, HEIGHT);
    assert_int_equal(dataset->width, WIDTH);
    assert_int_equal(dataset->classes, 10);
    for (int k = 0; k < count * HEIGHT * WIDTH; k++)
        assert_int_equal(dataset->pixels[k], (uint8_t)(10 * k));
    for (int i = 0; i < count; i++) assert_int_equal(dataset->labels[i], 7 - i);
    dataset_free(dataset);
}

/* Opening the folder fails with this code; the message names `file` first and has the fragment. */
static void expect_error(const char *file, ErrorCode code, const char *fragment) {
    Error error = {0};
    Dataset *dataset = dataset_open(scratch_path(""), true, 0, &error);
    assert_null(dataset);
    assert_error(&error, code, fragment);
    const char *path = scratch_path(file);
    assert_int_equal(strncmp(error.message, path, strlen(path)), 0);
}

static void expect_images(const Bytes *images, const char *fragment) {
    scratch_write(IMAGES, images);
    expect_error(IMAGES, ERROR_INPUT, fragment);
}

static void expect_labels(const Bytes *labels, const char *fragment) {
    scratch_write(LABELS, labels);
    expect_error(LABELS, ERROR_INPUT, fragment);
}

/* Before each test the folder has a good pair. */
static int good_pair(void **state) {
    (void)state;
    Bytes images = good_images(), labels = good_labels();
    scratch_write(IMAGES, &images);
    scratch_write(LABELS, &labels);
    return 0;
}

static void reads_plain_files(void **state) {
    (void)state;
    expect_good(0, COUNT);
    expect_good(2, 2);
    expect_good(COUNT + 1, COUNT);
}

static void the_content_says_gzip_not_the_name(void **state) {
    (void)state;
    Bytes images = good_images(), labels = good_labels();
    Bytes packed_images = bytes_gzip(&images), packed_labels = bytes_gzip(&labels);
    scratch_write(IMAGES, &packed_images);
    expect_good(0, COUNT); /* gzip data under a plain name */
    scratch_delete(IMAGES);
    scratch_delete(LABELS);
    scratch_write(IMAGES ".gz", &packed_images);
    scratch_write(LABELS ".gz", &packed_labels);
    expect_good(0, COUNT);
    scratch_write(IMAGES ".gz", &images); /* plain data under a .gz name */
    expect_good(0, COUNT);
    scratch_delete(IMAGES ".gz");
    scratch_delete(LABELS ".gz");
}

static void classes_are_ten_or_what_the_labels_need(void **state) {
    (void)state;
    Bytes labels = good_labels();
    labels.data[labels.count - 1] = 46;
    scratch_write(LABELS, &labels);
    /* counted over all labels, whatever the limit keeps */
    Dataset *dataset = dataset_open(scratch_path(""), true, 1, NULL);
    assert_non_null(dataset);
    assert_int_equal(dataset->classes, 47);
    assert_int_equal(dataset->count, 1);
    dataset_free(dataset);
}

static void refuses_a_wrong_magic(void **state) {
    (void)state;
    static const struct {
        uint32_t magic;
        const char *fragment;
    } cases[] = {
        {0x01000803, "not an IDX file (offset 0): expected bytes 00 00, got 01 00"},
        {0x00ff0803, "not an IDX file (offset 0): expected bytes 00 00, got 00 ff"},
        {0x00000703, "(offset 2): expected 0x08, unsigned bytes, got 0x07, no known type"},
        {0x00000903, "got 0x09, signed bytes"},
        {0x00000b03, "got 0x0b, 16-bit integers"},
        {0x00000c03, "got 0x0c, 32-bit integers"},
        {0x00000d03, "got 0x0d, 32-bit floats"},
        {0x00000e03, "got 0x0e, 64-bit floats"},
        {0x00000800, "(offset 3): expected 3, images, got 0"},
        {0x00000801, "expected 3, images, got 1, which is a file of labels"},
        {0x00000802, "expected 3, images, got 2"},
        {0x00000804, "expected 3, images, got 4"},
        {0x000008ff, "expected 3, images, got 255"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bytes images = good_images(), wrong = {0};
        bytes_u32(&wrong, cases[i].magic);
        memcpy(images.data, wrong.data, wrong.count);
        expect_images(&images, cases[i].fragment);
    }
}

static void refuses_images_as_labels(void **state) {
    (void)state;
    Bytes images = good_images();
    expect_labels(&images, "expected 1, labels, got 3, which is a file of images");
}

static void refuses_wrong_dimensions(void **state) {
    (void)state;
    static const struct {
        uint32_t dim[3];
        const char *fragment;
    } cases[] = {
        {{0, HEIGHT, WIDTH}, "dimension 0 is 0 (offset 4)"},
        {{COUNT, 0, WIDTH}, "dimension 1 is 0 (offset 8)"},
        {{COUNT, HEIGHT, 0}, "dimension 2 is 0 (offset 12)"},
        {{1u << 16, 1u << 8, 1u << 8}, "declare too many bytes"},         /* 2^32 */
        {{1u << 31, 1u << 31, 4}, "declare too many bytes"},              /* 2^64 */
        {{0xffffffff, 0xffffffff, 0xffffffff}, "declare too many bytes"}, /* near 2^96 */
        {{1u << 30, 1, 2}, "declare too many bytes"},
        {{(1u << 30) + 1, 1, 1}, "declare too many bytes (offset 4), expected at most 1073741824"},
        {{1u << 30, 1, 1}, "is too short (offset 16): its header declares 1073741824 bytes"},
        {{(1u << 30) - 1, 1, 1}, "its header declares 1073741823 bytes of data, got 24"},
        {{COUNT + 1, HEIGHT, WIDTH}, "declares 32 bytes of data, got 24"},
        {{COUNT - 1, HEIGHT, WIDTH}, "is too long (offset 16): its header declares 16 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bytes images = header(0x0803, 3, cases[i].dim), good = good_images();
        bytes_add(&images, good.data + IMAGES_HEADER, PIXELS);
        expect_images(&images, cases[i].fragment);
        Bytes packed = bytes_gzip(&images); /* the same when the length is not known beforehand */
        expect_images(&packed, cases[i].fragment);
    }
}

static void refuses_another_number_of_labels(void **state) {
    (void)state;
    Bytes labels = header(0x0801, 1, (uint32_t[]){COUNT + 1});
    bytes_add(&labels, "\1\2\3\4", 4);
    expect_labels(&labels, "has 4 labels (offset 4), expected 3, the number of images");
}

static void refuses_short_and_empty_files(void **state) {
    (void)state;
    Bytes images = good_images();
    for (size_t length = 0; length < images.count; length++) {
        Bytes cut = images;
        cut.count = length;
        expect_images(&cut, length == 0              ? "is empty"
                            : length < IMAGES_HEADER ? "ends inside its header (offset"
                                                     : "is too short (offset 16)");
    }
    Bytes nothing = {0}, packed = bytes_gzip(&nothing);
    expect_images(&packed, "ends inside its header (offset 0)");
}

static void refuses_broken_gzip(void **state) {
    (void)state;
    Bytes images = good_images(), packed = bytes_gzip(&images), wrong;

    wrong = packed;
    wrong.data[wrong.count - 8] ^= 1;
    expect_images(&wrong, "broken gzip data before offset");
    expect_images(&wrong, "incorrect data check");

    wrong = packed;
    wrong.data[wrong.count - 4] ^= 1;
    expect_images(&wrong, "incorrect length check");

    wrong = packed;
    wrong.count = 10;
    expect_images(&wrong, "is truncated: the file ends inside its gzip data (offset 10)");

    wrong = packed;
    wrong.count -= 1; /* all pixels are there, a byte of the trailer is not */
    expect_images(&wrong, "is truncated");

    wrong = packed;
    bytes_text(&wrong, "x");
    expect_images(&wrong, "trailing bytes after the gzip data (offset");

    wrong = packed;
    bytes_add(&wrong, packed.data, packed.count);
    expect_images(&wrong, "a second gzip member after the gzip data");

    wrong = bytes_gzip(&packed);
    expect_images(&wrong, "is compressed twice");
}

/* 1000:1 and more, but no further than the header says, and the header is limited. */
static void a_bomb_is_read_no_further_than_declared(void **state) {
    (void)state;
    Bytes images = good_images();
    images.count = sizeof images.data; /* 8 KiB of zeros behind */
    Bytes packed = bytes_gzip(&images);
    assert_true(packed.count < 200);
    expect_images(&packed, "is too long (offset 16): its header declares 24 bytes of data");
}

static void refuses_what_is_no_file(void **state) {
    (void)state;
    scratch_delete(IMAGES);
    assert_int_equal(mkdir(scratch_path(IMAGES), 0777), 0);
    expect_error(IMAGES, ERROR_IO, "is a folder, expected a regular file");
    scratch_delete(IMAGES);
    assert_int_equal(mkfifo(scratch_path(IMAGES), 0666), 0);
    expect_error(IMAGES, ERROR_IO, "is a pipe or device, expected a regular file");
    scratch_delete(IMAGES);
    assert_int_equal(symlink(IMAGES, scratch_path(IMAGES)), 0);
    expect_error(IMAGES, ERROR_IO, "Too many levels of symbolic links");
    scratch_delete(IMAGES);
}

static void refuses_a_file_without_permission(void **state) {
    (void)state;
    assert_int_equal(chmod(scratch_path(IMAGES), 0), 0);
    assert_int_equal(chmod(scratch_path(""), 0755), 0);
    bool root = geteuid() == 0; /* root may read everything: be nobody for a while */
    if (root) assert_int_equal(seteuid(65534), 0);
    expect_error(IMAGES, ERROR_IO, "Permission denied");
    if (root) assert_int_equal(seteuid(0), 0);
    scratch_delete(IMAGES);
}

static void names_the_missing_labels(void **state) {
    (void)state;
    scratch_delete(LABELS);
    expect_error(LABELS, ERROR_IO, "No such file or directory");
}

/* Whatever happens to a byte or to the length: a data set or ERROR_INPUT. True if a data set; its
 * pixels are then those of `images`, unless that is NULL. */
static bool accepts(const Bytes *mutant, const Bytes *images) {
    Error error = {0};
    scratch_write(IMAGES, mutant);
    Dataset *dataset = dataset_open(scratch_path(""), true, 0, &error);
    assert_int_equal(error.code, dataset ? ERROR_NONE : ERROR_INPUT);
    if (dataset && images)
        assert_memory_equal(dataset->pixels, images->data + IMAGES_HEADER, PIXELS);
    dataset_free(dataset);
    return error.code == ERROR_NONE;
}

static void survives_every_mutation(void **state) {
    (void)state;
    Bytes images = good_images(), packed = bytes_gzip(&images);
    for (size_t length = 0; length < packed.count; length++) {
        Bytes cut = packed;
        cut.count = length;
        assert_false(accepts(&cut, NULL));
    }
    int accepted = 0;
    for (size_t at = 0; at < packed.count; at++)
        for (int bit = 0; bit < 8; bit++) {
            Bytes flipped = packed;
            flipped.data[at] ^= (uint8_t)(1 << bit);
            accepted += accepts(&flipped, &images);
        }
    /* bits without a meaning: 6 bytes of gzip's header (time, level, system), its text flag, and at
     * most 7 that fill deflate's last byte (RFC 1952 and 1951) */
    assert_in_range(accepted, 6 * 8 + 1, 6 * 8 + 1 + 7);
    for (size_t at = 0; at < images.count; at++) {
        Bytes flipped = images;
        flipped.data[at] ^= 0xff;
        assert_int_equal(accepts(&flipped, NULL), at >= IMAGES_HEADER);
    }
}

#define IDX_TEST(f) cmocka_unit_test_setup(f, good_pair)

int main(void) {
    const struct CMUnitTest tests[] = {
        IDX_TEST(reads_plain_files),
        IDX_TEST(the_content_says_gzip_not_the_name),
        IDX_TEST(classes_are_ten_or_what_the_labels_need),
        IDX_TEST(refuses_a_wrong_magic),
        IDX_TEST(refuses_images_as_labels),
        IDX_TEST(refuses_wrong_dimensions),
        IDX_TEST(refuses_another_number_of_labels),
        IDX_TEST(refuses_short_and_empty_files),
        IDX_TEST(refuses_broken_gzip),
        IDX_TEST(a_bomb_is_read_no_further_than_declared),
        IDX_TEST(refuses_what_is_no_file),
        IDX_TEST(refuses_a_file_without_permission),
        IDX_TEST(names_the_missing_labels),
        IDX_TEST(survives_every_mutation),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
