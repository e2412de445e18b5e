/* Augmentation: random changes of a training image's bytes that leave its label true. What happens
 * to an image is a pure function of (seed, epoch, index of the image): it depends neither on the
 * batch nor on what was drawn before, so that a resumed run sees the images it would have seen.
 *
 *   flip     mirrored left to right, with probability 1/2
 *   shift    moved by -2 .. 2 pixels each way; what comes in is 0, as torchvision pads
 *   crop     a random window of at least 4/5 of the height and width, stretched to the whole
 * (nearest pixel) cutout   a square of side/4 (of the shorter side), anywhere within, is set to
 * each channel's mean (DeVries, Taylor 2017)
 *
 * They are applied in this order. To add one: a row in augment.c. */
#pragma once

#include <stdint.h>

#include "autograd/error.h"

typedef unsigned Augmentations; /* a set: bit i is row i of the list; 0: the image as it is */

/* A set from words joined by commas, "flip,shift". ERROR_USAGE, naming the word, for one that there
 * is not. */
bool augment_parse(const char *words, Augmentations *set, Error *error);

/* An image's size, and the byte nearest to each channel's mean, [channels]. */
typedef struct AugmentSize {
    int channels, height, width;
    const uint8_t *mean;
} AugmentSize;

/* The image after all augmentations of the set: `image`, or one of the two buffers. image,
 * buffer[0] and buffer[1] have [channels][height][width] bytes each. */
const uint8_t *augment_image(Augmentations set, const AugmentSize *size, uint64_t seed,
                             uint64_t epoch, uint64_t index, const uint8_t *image,
                             uint8_t *const buffer[2]);
