#include "datasets/augment.h"

#include <string.h>

#include "autograd/rng.h"

enum { SHIFT_MOST = 2, CROP_SHARE = 5, CUTOUT_SHARE = 4 };

/* 0 .. most, all equally likely. */
static int below_or_at(Rng *rng, int most) {
    return (int)rng_below(rng, (uint32_t)most + 1);
}

static void flip(Rng *rng, const AugmentSize *size, const uint8_t *from, uint8_t *to) {
    size_t width = (size_t)size->width, rows = (size_t)size->channels * (size_t)size->height;
    bool mirrored = rng_below(rng, 2);
    for (size_t row = 0; row < rows; row++, from += width)
        for (size_t x = 0; x < width; x++) *to++ = from[mirrored ? width - 1 - x : x];
}

static void shift(Rng *rng, const AugmentSize *size, const uint8_t *from, uint8_t *to) {
    int dy = below_or_at(rng, 2 * SHIFT_MOST) - SHIFT_MOST;
    int dx = below_or_at(rng, 2 * SHIFT_MOST) - SHIFT_MOST;
    for (int c = 0; c < size->channels; c++, from += (size_t)size->height * (size_t)size->width)
        for (int y = 0; y < size->height; y++)
            for (int x = 0; x < size->width; x++) {
                int sy = y - dy, sx = x - dx;
                bool inside = sy >= 0 && sy < size->height && sx >= 0 && sx < size->width;
                *to++ = inside ? from[(size_t)sy * (size_t)size->width + (size_t)sx] : 0;
            }
}

/* Where pixel i of `side`, at i + 1/2, falls in a window of `window` pixels: floor((i + 1/2) window
 * / side). */
static int stretched(int i, int window, int side) {
    return (int)((2 * (int64_t)i + 1) * window / (2 * (int64_t)side));
}

/* Height and width shrink by the same share: shapes are kept. */
static void crop(Rng *rng, const AugmentSize *size, const uint8_t *from, uint8_t *to) {
    float share = 1 - rng_uniform(rng) / CROP_SHARE;
    int height = (int)((float)size->height * share), width = (int)((float)size->width * share);
    height = height < 1 ? 1 : height;
    width = width < 1 ? 1 : width;
    int top = below_or_at(rng, size->height - height), left = below_or_at(rng, size->width - width);
    for (int c = 0; c < size->channels; c++, from += (size_t)size->height * (size_t)size->width)
        for (int y = 0; y < size->height; y++) {
            const uint8_t *row =
                from + (size_t)(top + stretched(y, height, size->height)) * (size_t)size->width +
                left;
            for (int x = 0; x < size->width; x++) *to++ = row[stretched(x, width, size->width)];
        }
}

static void cutout(Rng *rng, const AugmentSize *size, const uint8_t *from, uint8_t *to) {
    int side = (size->height < size->width ? size->height : size->width) / CUTOUT_SHARE;
    int top = below_or_at(rng, size->height - side), left = below_or_at(rng, size->width - side);
    size_t width = (size_t)size->width, plane = (size_t)size->height * width;
    memcpy(to, from, (size_t)size->channels * plane);
    for (int c = 0; c < size->channels; c++)
        for (int y = top; y < top + side; y++)
            memset(to + (size_t)c * plane + (size_t)y * width + left, size->mean[c], (size_t)side);
}

/* In the order they are applied. A row's place names its random numbers: append only. */
static const struct {
    const char *name;
    void (*apply)(Rng *rng, const AugmentSize *size, const uint8_t *from, uint8_t *to);
} rows[] = {{"flip", flip}, {"shift", shift}, {"crop", crop}, {"cutout", cutout}};
enum { ROWS = sizeof rows / sizeof *rows };

bool augment_parse(const char *words, Augmentations *set, Error *error) {
    *set = 0;
    for (const char *word = words;; word++) {
        size_t length = strcspn(word, ",");
        int i = 0;
        while (i < ROWS &&
               (strlen(rows[i].name) != length || strncmp(rows[i].name, word, length) != 0))
            i++;
        if (i == ROWS)
            return error_set(error, ERROR_USAGE,
                             "no augmentation \"%.*s\"; there are flip, shift, crop and cutout, "
                             "joined by commas",
                             length < 64 ? (int)length : 64, word);
        *set |= 1u << i;
        word += length;
        if (!*word) return true;
    }
}

/* Each augmentation has a stream of its own: one more changes nothing of the others. */
const uint8_t *augment_image(Augmentations set, const AugmentSize *size, uint64_t seed,
                             uint64_t epoch, uint64_t index, const uint8_t *image,
                             uint8_t *const buffer[2]) {
    Rng images = rng_stream(seed, RNG_AUGMENT, epoch);
    int free_buffer = 0;
    for (int i = 0; i < ROWS; i++) {
        if (!(set >> i & 1)) continue;
        Rng rng = rng_stream(rng_at(&images, index), RNG_AUGMENT, (uint64_t)i);
        rows[i].apply(&rng, size, image, buffer[free_buffer]);
        image = buffer[free_buffer];
        free_buffer ^= 1;
    }
    return image;
}
