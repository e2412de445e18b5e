/* Image: one picture of the user's, read from a file and fitted to what a network takes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "autograd/error.h"

enum {
    IMAGE_MAX_SIDE = 4096,
    IMAGE_MAX_FILE = 16 << 20, /* bytes */
    IMAGE_STORY = 256,
};

typedef struct Image {
    int width, height; /* 1 .. IMAGE_MAX_SIDE */
    int channels;      /* 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha; alpha 255 is opaque */
    uint8_t *pixels;   /* [height][width][channels] */
} Image;

/* Reads a PNG, PGM or PPM file; the file's content says which. The pixels are the caller's:
 * image_free. False: ERROR_IO if it cannot be read, ERROR_INPUT if it is broken, beyond the limits
 * above, or of another kind, which the message names. */
bool image_open(const char *path, Image *image, Error *error);
void image_free(Image *image);

/* Fills pixels [channels][height][width], channels 1 or 3, with the image:
 *   alpha is laid on white or black, whichever the drawing stands out from;
 *   colour becomes grey by the weights 0.299 0.587 0.114 (ITU-R BT.601), grey becomes three equal
 * planes; another size is averaged by area, in its aspect ratio, and centred in the mean colour of
 * the border; if `dark_background`, which is what MNIST and its relatives have, an image whose
 * border is brighter than half and than its inside is inverted. An image that needs none of this
 * comes through unchanged. `story` receives what was done, for the user: "300x200 RGB: to grey,
 * scaled to 28x19 and centred, inverted (bright background)". False and ERROR_INPUT for another
 * number of channels. */
bool image_fit(const Image *image, int channels, int height, int width, bool dark_background,
               uint8_t *pixels, char story[IMAGE_STORY], Error *error);
