#include "datasets/loader.h"

#include <math.h>
#include <stdlib.h>

#include "autograd/rng.h"

struct Loader {
    const Dataset *dataset;
    int batch;
    uint64_t seed;
    bool shuffle;
    uint64_t epoch; /* whose order is in `order` */
    Augmentations augmentations;
    uint8_t mean[NORMALIZATION_CHANNELS];     /* the nearest bytes */
    uint8_t *buffer[2];                       /* an image each, behind `order` */
    float table[NORMALIZATION_CHANNELS][256]; /* normalize_byte of every byte, by channel */
    uint32_t order[];                         /* [dataset->count]: which image comes when */
};

Normalization normalization_of(const Dataset *dataset) {
    CHECK(dataset->channels <= NORMALIZATION_CHANNELS, "%d channels", dataset->channels);
    Normalization normalization = {.channels = dataset->channels};
    dataset_statistics(dataset, normalization.mean, normalization.std);
    return normalization;
}

static void set_order(Loader *loader, uint64_t epoch) {
    Rng rng = rng_stream(loader->seed, RNG_SHUFFLE, epoch);
    rng_permutation(&rng, loader->order, (uint32_t)loader->dataset->count);
    loader->epoch = epoch;
}

Loader *loader_new(const Dataset *dataset, const Normalization *normalization, int batch,
                   uint64_t seed, bool shuffle, Error *error) {
    CHECK(batch > 0, "batch %d", batch);
    CHECK(dataset->channels == normalization->channels &&
              normalization->channels <= NORMALIZATION_CHANNELS,
          "a data set of %d channels and a normalization of %d", dataset->channels,
          normalization->channels);
    uint32_t count = (uint32_t)dataset->count;
    size_t image = dataset_image_bytes(dataset);
    Loader *loader = malloc(sizeof *loader + count * sizeof *loader->order + 2 * image);
    if (!loader) return error_set(error, ERROR_IO, "no memory to order %u images", count), NULL;
    loader->dataset = dataset;
    loader->batch = batch;
    loader->seed = seed;
    loader->shuffle = shuffle;
    loader->augmentations = 0;
    loader->buffer[0] = (uint8_t *)(loader->order + count);
    loader->buffer[1] = loader->buffer[0] + image;
    for (int c = 0; c < dataset->channels; c++) {
        float mean = roundf(255 * normalization->mean[c]);
        loader->mean[c] = (uint8_t)(mean > 0 ? fminf(mean, 255) : 0);
    }
    for (int c = 0; c < dataset->channels; c++)
        for (int p = 0; p < 256; p++)
            loader->table[c][p] =
                normalize_byte((uint8_t)p, normalization->mean[c], normalization->std[c]);
    for (uint32_t i = 0; i < count; i++) loader->order[i] = i;
    if (shuffle) set_order(loader, 0);
    return loader;
}

void loader_free(Loader *loader) {
    free(loader);
}

void loader_augment(Loader *loader, Augmentations set) {
    loader->augmentations = set;
}

int loader_steps(const Loader *loader) {
    int count = loader->dataset->count;
    return count / loader->batch + (count % loader->batch != 0);
}

int loader_batch(Loader *loader, uint64_t epoch, int step, float *images, int *labels) {
    CHECK(step >= 0 && step < loader_steps(loader), "step %d of %d", step, loader_steps(loader));
    if (loader->shuffle && epoch != loader->epoch) set_order(loader, epoch);
    const Dataset *dataset = loader->dataset;
    int begin = step * loader->batch, left = dataset->count - begin;
    int n = left < loader->batch ? left : loader->batch;
    size_t plane = (size_t)dataset->height * (size_t)dataset->width;
    AugmentSize size = {dataset->channels, dataset->height, dataset->width, loader->mean};
    for (int i = 0; i < n; i++) {
        int index = (int)loader->order[begin + i];
        const uint8_t *pixel =
            augment_image(loader->augmentations, &size, loader->seed, epoch, (uint64_t)index,
                          dataset_image(dataset, index), loader->buffer);
        for (int c = 0; c < dataset->channels; c++)
            for (size_t k = 0; k < plane; k++) *images++ = loader->table[c][*pixel++];
        labels[i] = dataset->labels[index];
    }
    return n;
}
