/* Data sets: the search for them, CIFAR-10, Fashion-MNIST itself, statistics, and the loader. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "datasets/loader.h"
#include "tests/scratch.h"

/* ---- the search ---- */

/* An IDX pair of one 1x1 image of this value, under these names. */
static void write_pair(const char *images_name, const char *labels_name, uint8_t value) {
    Bytes images = {0}, labels = {0};
    for (int i = 0; i < 4; i++) bytes_u32(&images, i == 0 ? 0x0803 : 1);
    for (int i = 0; i < 2; i++) bytes_u32(&labels, i == 0 ? 0x0801 : 1);
    bytes_add(&images, &value, 1);
    bytes_add(&labels, "\3", 1);
    bool gzip = strstr(images_name, ".gz");
    Bytes packed_images = bytes_gzip(&images), packed_labels = bytes_gzip(&labels);
    scratch_write(images_name, gzip ? &packed_images : &images);
    scratch_write(labels_name, gzip ? &packed_labels : &labels);
}

static void finds_every_name_in_every_folder(void **state) {
    (void)state;
    static const char *const folders[] = {"", "MNIST/raw/", "FashionMNIST/raw/"};
    static const char *const splits[] = {"t10k", "train"};
    static const char joints[] = "-.";
    static const char *const ends[] = {"", ".gz"};
    for (int i = 0; i < 3 * 2 * 2 * 2; i++) {
        const char *folder = folders[i / 8], *split = splits[i / 4 % 2], *end = ends[i % 2];
        char images[128], labels[128], joint = joints[i / 2 % 2];
        snprintf(images, sizeof images, "%s%s-images%cidx3-ubyte%s", folder, split, joint, end);
        snprintf(labels, sizeof labels, "%s%s-labels%cidx1-ubyte%s", folder, split, joint, end);
        write_pair(images, labels, (uint8_t)i);
        Error error = {0};
        Dataset *dataset = dataset_open(scratch_path(""), i / 4 % 2, 0, &error);
        if (!dataset) fail_msg("%s: %s", images, error.message);
        assert_int_equal(dataset->pixels[0], i);
        assert_int_equal(dataset->labels[0], 3);
        assert_string_equal(dataset->source, scratch_path(images));
        assert_string_equal(dataset->format, "IDX");
        dataset_free(dataset);
        assert_null(dataset_open(scratch_path(""), !(i / 4 % 2), 0, NULL)); /* the other split */
        scratch_delete(images);
        scratch_delete(labels);
    }
}

static void says_what_was_tried(void **state) {
    (void)state;
    static const char *const fragments[] = {
        "has no data set; tried train-images-idx3-ubyte, train-images-idx3-ubyte.gz, "
        "train-images.idx3-ubyte, train-images.idx3-ubyte.gz, MNIST/raw/train-images-idx3-ubyte, ",
        ", FashionMNIST/raw/train-images.idx3-ubyte.gz, ",
        ", data_batch_1.bin, ",
        ", cifar-10-batches-bin/data_batch_5.bin",
    };
    Error error = {0};
    assert_null(dataset_open(scratch_path(""), true, 0, &error));
    for (size_t i = 0; i < sizeof fragments / sizeof *fragments; i++)
        assert_error(&error, ERROR_IO, fragments[i]);

    Error missing = {0};
    assert_null(dataset_open(scratch_path("nowhere"), true, 0, &missing));
    assert_error(&missing, ERROR_IO, "nowhere: No such file or directory");

    Error file = {0};
    Bytes bytes = {0};
    scratch_write("file", &bytes);
    assert_null(dataset_open(scratch_path("file"), true, 0, &file));
    assert_error(&file, ERROR_IO, "file: is not a folder");
    scratch_delete("file");
}

/* ---- CIFAR-10 ---- */

enum { CIFAR_PIXELS = 3 * 32 * 32 };

/* Records with these labels; pixel k of each is k + label, modulo 256. */
static Bytes records(int count, const uint8_t labels[]) {
    Bytes bytes = {0};
    for (int i = 0; i < count; i++) {
        bytes_add(&bytes, &labels[i], 1);
        for (int k = 0; k < CIFAR_PIXELS; k++) bytes.data[bytes.count++] = (uint8_t)(k + labels[i]);
    }
    return bytes;
}

static void write_batches(const char *folder, int batches) {
    for (int b = 0; b < batches; b++) {
        char name[64];
        snprintf(name, sizeof name, "%sdata_batch_%d.bin", folder, b + 1);
        Bytes bytes = records(1 + b % 2, (uint8_t[]){(uint8_t)(2 * b), (uint8_t)(2 * b + 1)});
        scratch_write(name, &bytes);
    }
}

static void reads_cifar10(void **state) {
    (void)state;
    static const int labels[] = {0, 2, 3, 4, 6, 7, 8};
    static const char *const folders[] = {"cifar-10-batches-bin/", ""};
    for (int f = 0; f < 2; f++) {
        write_batches(folders[f], 5);
        Error error = {0};
        Dataset *dataset = dataset_open(scratch_path(""), true, 0, &error);
        if (!dataset) fail_msg("%s", error.message);
        assert_int_equal(dataset->count, 7);
        assert_string_equal(dataset->format, "CIFAR-10");
        assert_int_equal(dataset->channels, 3);
        assert_int_equal(dataset->height, 32);
        assert_int_equal(dataset->width, 32);
        assert_int_equal(dataset->classes, 10);
        for (int i = 0; i < 7; i++) {
            assert_int_equal(dataset->labels[i], labels[i]);
            for (int k = 0; k < CIFAR_PIXELS; k++)
                assert_int_equal(dataset_image(dataset, i)[k], (uint8_t)(k + labels[i]));
        }
        dataset_free(dataset);
    }
    Bytes test = records(2, (uint8_t[]){9, 5});
    scratch_write("cifar-10-batches-bin/test_batch.bin", &test);
    Dataset *dataset = dataset_open(scratch_path(""), false, 1, NULL);
    assert_non_null(dataset);
    assert_int_equal(dataset->count, 1);
    assert_int_equal(dataset->labels[0], 9);
    dataset_free(dataset);
    scratch_delete("cifar-10-batches-bin/test_batch.bin");
}

static void expect_cifar_error(const Bytes *third, ErrorCode code, const char *fragment) {
    if (third) scratch_write("data_batch_3.bin", third);
    Error error = {0};
    assert_null(dataset_open(scratch_path(""), true, 0, &error));
    assert_error(&error, code, fragment);
    assert_error(&error, code, "data_batch_3.bin: ");
}

static void refuses_broken_cifar10(void **state) {
    (void)state;
    write_batches("", 5);
    Bytes bytes = records(2, (uint8_t[]){1, 10});
    expect_cifar_error(&bytes, ERROR_INPUT, "label 10 (offset 3073), expected 0 to 9");
    bytes.count = 2 * 3073 - 1;
    expect_cifar_error(&bytes, ERROR_INPUT,
                       "is 6145 bytes long, expected records of 3073 bytes (CIFAR-10)");
    bytes.count = 2 * 3074;
    expect_cifar_error(&bytes, ERROR_INPUT, "records of 3074 bytes are CIFAR-100's");
    bytes.count = 0;
    expect_cifar_error(&bytes, ERROR_INPUT, "is empty");
    Bytes packed_nothing = bytes_gzip(&bytes);
    expect_cifar_error(&packed_nothing, ERROR_INPUT, "has no records");
    scratch_delete("data_batch_3.bin");
    expect_cifar_error(NULL, ERROR_IO, "No such file or directory");
}

/* ---- Fashion-MNIST ---- */

static void reads_fashion_mnist(void **state) {
    (void)state;
    static const int counts[] = {10000, 60000};
    for (int train = 0; train < 2; train++) {
        Error error = {0};
        Dataset *dataset = dataset_open(NULL, train, 0, &error);
        if (!dataset) fail_msg("%s", error.message);
        assert_int_equal(dataset->count, counts[train]);
        assert_int_equal(dataset_image_bytes(dataset), 28 * 28);
        assert_int_equal(dataset->classes, 10);
        int seen[10] = {0};
        for (int i = 0; i < dataset->count; i++) seen[dataset->labels[i]]++;
        for (int c = 0; c < 10; c++) assert_int_equal(seen[c], counts[train] / 10);
        /* exact sums of pixels and of squares, computed by NumPy from the same files */
        static const double sums[] = {573469082.0, 3431114169.0};
        static const double squares[] = {105272563536.0, 631470052347.0};
        double n = counts[train] * 784.0, average = sums[train] / n;
        float mean, std;
        dataset_statistics(dataset, &mean, &std);
        assert_true(mean == (float)(average / 255));
        assert_true(std == (float)(sqrt(squares[train] / n - average * average) / 255));
        dataset_free(dataset);
    }
}

/* ---- statistics ---- */

static void statistics_are_per_channel(void **state) {
    (void)state;
    uint8_t pixels[] = {0, 255, 7, 7, 51, 51, 0, 255, 7, 7, 51, 204}; /* [2][3][1][2] */
    uint8_t labels[] = {0, 1};
    Dataset dataset = {2, 3, 1, 2, 10, pixels, labels, NULL, NULL};
    Normalization normalization = normalization_of(&dataset);
    assert_int_equal(normalization.channels, 3);
    assert_true(normalization.mean[0] == 0.5f && normalization.std[0] == 0.5f);
    assert_true(normalization.mean[1] == (float)(7.0 / 255) && normalization.std[1] == 1.0f);
    /* 0.2 0.2 0.2 0.8: mean 0.35, variance 0.0675; half a unit in the last place of a float */
    assert_true(fabs((double)normalization.mean[2] - 0.35) <= 0.35 * 0x1p-24);
    assert_true(fabs((double)normalization.std[2] - sqrt(0.0675)) <= 0.26 * 0x1p-24);
}

/* ---- the loader ---- */

enum { IMAGES = 10, CHANNELS = 2, PLANE = 3, IMAGE = CHANNELS * PLANE, BATCH = 4 };

static uint8_t small_pixels[IMAGES * IMAGE], small_labels[IMAGES];
static const Dataset small = {IMAGES,       CHANNELS,     1,    PLANE, 10,
                              small_pixels, small_labels, NULL, NULL};
static const Normalization small_normalization = {2, {0.25f, 0.5f}, {0.5f, 2.0f}};

static void fill_small(void) {
    for (int k = 0; k < IMAGES * IMAGE; k++) small_pixels[k] = (uint8_t)(37 * k);
    for (int i = 0; i < IMAGES; i++) small_labels[i] = (uint8_t)i;
}

static void normalizes_a_byte(void **state) {
    (void)state;
    assert_true(normalize_byte(0, 0.25f, 0.5f) == -0.5f);
    assert_true(normalize_byte(255, 0.25f, 0.5f) == 1.5f);
    assert_true(normalize_byte(100, 0.2860f, 0.3530f) == (100.0f / 255.0f - 0.2860f) / 0.3530f);
}

static void batches_in_index_order(void **state) {
    (void)state;
    fill_small();
    Loader *loader = loader_new(&small, &small_normalization, BATCH, 1, false, NULL);
    assert_int_equal(loader_steps(loader), 3);
    for (int step = 0; step < 3; step++) {
        float images[BATCH * IMAGE];
        int labels[BATCH], n = loader_batch(loader, 5, step, images, labels);
        assert_int_equal(n, step < 2 ? BATCH : IMAGES % BATCH);
        for (int i = 0; i < n; i++) {
            assert_int_equal(labels[i], step * BATCH + i);
            for (int k = 0; k < IMAGE; k++) {
                int c = k / PLANE;
                assert_true(images[i * IMAGE + k] ==
                            normalize_byte(small_pixels[labels[i] * IMAGE + k],
                                           small_normalization.mean[c],
                                           small_normalization.std[c]));
            }
        }
    }
    loader_free(loader);
}

/* The labels (which are the indices) of one epoch, in order; each image is checked against its
 * label. */
static void epoch_order(Loader *loader, uint64_t epoch, int order[IMAGES]) {
    int at = 0;
    for (int step = 0; step < loader_steps(loader); step++) {
        float images[BATCH * IMAGE];
        int n = loader_batch(loader, epoch, step, images, order + at);
        for (int i = 0; i < n; i++)
            assert_true(images[i * IMAGE] ==
                        normalize_byte(small_pixels[order[at + i] * IMAGE], 0.25f, 0.5f));
        at += n;
    }
    assert_int_equal(at, IMAGES);
}

static void shuffles_by_seed_and_epoch(void **state) {
    (void)state;
    fill_small();
    Loader *loader = loader_new(&small, &small_normalization, BATCH, 7, true, NULL);
    int first[IMAGES], second[IMAGES], again[IMAGES], other[IMAGES], seen[IMAGES] = {0};
    epoch_order(loader, 0, first);
    epoch_order(loader, 1, second);
    epoch_order(loader, 0, again);
    for (int i = 0; i < IMAGES; i++) seen[second[i]]++;
    for (int i = 0; i < IMAGES; i++) assert_int_equal(seen[i], 1);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, second, sizeof first);

    /* a loader that starts in the middle gives what the first gave there */
    Loader *resumed = loader_new(&small, &small_normalization, BATCH, 7, true, NULL);
    float images[BATCH * IMAGE];
    int labels[BATCH];
    assert_int_equal(loader_batch(resumed, 1, 2, images, labels), 2);
    assert_memory_equal(labels, second + 2 * BATCH, 2 * sizeof *labels);
    loader_free(resumed);

    Loader *seeded = loader_new(&small, &small_normalization, BATCH, 8, true, NULL);
    epoch_order(seeded, 0, other);
    assert_memory_not_equal(first, other, sizeof first);
    loader_free(seeded);
    loader_free(loader);
}

static void a_batch_may_be_larger_than_the_data(void **state) {
    (void)state;
    fill_small();
    Loader *loader = loader_new(&small, &small_normalization, 65536, 0, false, NULL);
    float images[IMAGES * IMAGE];
    int labels[IMAGES];
    assert_int_equal(loader_steps(loader), 1);
    assert_int_equal(loader_batch(loader, 0, 0, images, labels), IMAGES);
    assert_int_equal(labels[IMAGES - 1], IMAGES - 1);
    loader_free(loader);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_every_name_in_every_folder),
        cmocka_unit_test(says_what_was_tried),
        cmocka_unit_test(reads_cifar10),
        cmocka_unit_test(refuses_broken_cifar10),
        cmocka_unit_test(reads_fashion_mnist),
        cmocka_unit_test(statistics_are_per_channel),
        cmocka_unit_test(normalizes_a_byte),
        cmocka_unit_test(batches_in_index_order),
        cmocka_unit_test(shuffles_by_seed_and_epoch),
        cmocka_unit_test(a_batch_may_be_larger_than_the_data),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
