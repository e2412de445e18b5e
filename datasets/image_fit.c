/* Fitting an image to a network's input. All of it is integer arithmetic: the same picture gives
 * the same bytes everywhere, and one that fits already gives its own. */
#include <stdio.h>
#include <string.h>

#include "datasets/image.h"

/* An image as a network of `planes` channels sees it. */
typedef struct View {
    const Image *image;
    int planes;   /* 1 or 3 */
    int backdrop; /* 0 .. 255: what shines through where alpha is below 255 */
} View;

static bool has_alpha(const Image *image) {
    return image->channels % 2 == 0;
}
static bool has_colour(const Image *image) {
    return image->channels >= 3;
}

static const uint8_t *pixel_at(const Image *image, int x, int y) {
    return image->pixels + ((size_t)y * (size_t)image->width + (size_t)x) * (size_t)image->channels;
}

/* Rec. 601 luma of an RGB pixel, 0 .. 255, rounded. */
static int luma(const uint8_t *p) {
    return (299 * p[0] + 587 * p[1] + 114 * p[2] + 500) / 1000;
}

/* 0 .. 255 */
static int view_value(const View *view, int x, int y, int plane) {
    const Image *image = view->image;
    const uint8_t *p = pixel_at(image, x, y);
    int value = p[0];
    if (has_colour(image)) value = view->planes == 1 ? luma(p) : p[plane];
    if (!has_alpha(image)) return value;
    int alpha = p[image->channels - 1];
    return (value * alpha + view->backdrop * (255 - alpha) + 127) / 255;
}

/* White, unless what is painted is so bright that it would vanish there. */
static int choose_backdrop(const Image *image) {
    uint64_t light = 0, paint = 0;
    if (!has_alpha(image)) return 255;
    for (int y = 0; y < image->height; y++)
        for (int x = 0; x < image->width; x++) {
            const uint8_t *p = pixel_at(image, x, y);
            uint64_t alpha = p[image->channels - 1];
            light += alpha * (uint64_t)(has_colour(image) ? luma(p) : p[0]);
            paint += alpha;
        }
    return 2 * light > 255 * paint ? 0 : 255;
}

/* Sums over the outermost ring of pixels and over what it encloses. */
typedef struct Ring {
    uint64_t border, border_count, inside, inside_count;
    bool flat; /* all values are equal */
} Ring;

static Ring ring_of(const View *view, int plane) {
    int width = view->image->width, height = view->image->height;
    int first = view_value(view, 0, 0, plane);
    Ring ring = {.flat = true};
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            int value = view_value(view, x, y, plane);
            bool border = x == 0 || y == 0 || x == width - 1 || y == height - 1;
            *(border ? &ring.border : &ring.inside) += (uint64_t)value;
            *(border ? &ring.border_count : &ring.inside_count) += 1;
            ring.flat &= value == first;
        }
    return ring;
}

/* Border mean above half scale, and above the inside's mean if there is an inside. */
static bool bright_background(const Ring *ring) {
    return 2 * ring->border > 255 * ring->border_count &&
           ring->border * ring->inside_count >= ring->inside * ring->border_count;
}

/* Where the image comes to lie in the width x height of the network. */
typedef struct Frame {
    int left, top, width, height;
} Frame;

/* a * b / c rounded, at least 1 */
static int scaled(int a, int b, int c) {
    int result = (int)(((int64_t)a * b * 2 + c) / (2 * (int64_t)c));
    return result > 1 ? result : 1;
}

static Frame centre(const Image *image, int width, int height) {
    Frame frame = {.width = width, .height = height};
    if ((int64_t)image->width * height > (int64_t)image->height * width)
        frame.height = scaled(image->height, width, image->width);
    else
        frame.width = scaled(image->width, height, image->height);
    frame.left = (width - frame.width) / 2;
    frame.top = (height - frame.height) / 2;
    return frame;
}

/* The part of source pixel s, out of `from`, that lies in target pixel t, out of `to`: in units
 * where a source pixel is `to` long and a target pixel `from`, so that all cuts are at integers. */
static int64_t overlap(int s, int from, int t, int to) {
    int64_t begin = (int64_t)s * to, end = begin + to;
    int64_t low = (int64_t)t * from, high = low + from;
    return (end < high ? end : high) - (begin > low ? begin : low);
}

/* Mean of the source over target pixel (tx, ty) of the frame: sum of overlap * value over the
 * target pixel's area, which is width * height of the source in these units. */
static uint8_t area_mean(const View *view, const Frame *frame, int tx, int ty, int plane) {
    int width = view->image->width, height = view->image->height;
    int64_t sum = 0, area = (int64_t)width * height;
    int first_x = (int)((int64_t)tx * width / frame->width);
    int first_y = (int)((int64_t)ty * height / frame->height);
    for (int y = first_y; y < height; y++) {
        int64_t down = overlap(y, height, ty, frame->height);
        if (down <= 0) break;
        for (int x = first_x; x < width; x++) {
            int64_t across = overlap(x, width, tx, frame->width);
            if (across <= 0) break;
            sum += across * down * view_value(view, x, y, plane);
        }
    }
    return (uint8_t)((2 * sum + area) / (2 * area));
}

static void tell(char story[IMAGE_STORY], const char *separator, const char *text) {
    size_t used = strlen(story);
    snprintf(story + used, IMAGE_STORY - used, "%s%s", separator, text);
}

static void tell_story(const View *view, const Frame *frame, int width, int height,
                       const char *polarity, char story[IMAGE_STORY]) {
    static const char *const names[] = {"grey", "grey with alpha", "RGB", "RGB with alpha"};
    const Image *image = view->image;
    snprintf(story, IMAGE_STORY, "%dx%d %s", image->width, image->height,
             names[image->channels - 1]);
    const char *separator = ": ";
    char text[96];
    if (has_alpha(image)) {
        tell(story, separator, view->backdrop ? "laid on white" : "laid on black");
        separator = ", ";
    }
    if (has_colour(image) != (view->planes == 3)) {
        tell(story, separator, view->planes == 3 ? "grey to RGB" : "to grey");
        separator = ", ";
    }
    if (image->width != width || image->height != height) {
        snprintf(text, sizeof text, "scaled to %dx%d%s", frame->width, frame->height,
                 frame->width != width || frame->height != height ? " and centred" : "");
        tell(story, separator, text);
        separator = ", ";
    }
    if (polarity) tell(story, separator, polarity);
}

bool image_fit(const Image *image, int channels, int height, int width, bool dark_background,
               uint8_t *pixels, char story[IMAGE_STORY], Error *error) {
    CHECK(height > 0 && width > 0, "an input of %dx%d", width, height);
    if (channels != 1 && channels != 3)
        return error_set(error, ERROR_INPUT,
                         "an image has 1 or 3 channels, the network's input has %d", channels);
    View view = {.image = image, .planes = channels, .backdrop = choose_backdrop(image)};
    View grey = {.image = image, .planes = 1, .backdrop = view.backdrop};
    Ring light = ring_of(&grey, 0);
    bool invert = dark_background && !light.flat && bright_background(&light);
    const char *polarity = NULL;
    if (invert)
        polarity = "inverted (bright background)";
    else if (dark_background && light.flat)
        polarity = "not inverted (all pixels are equal, so the background is unknown)";

    Frame frame = centre(image, width, height);
    for (int c = 0; c < channels; c++) {
        Ring ring = ring_of(&view, c);
        uint8_t margin = (uint8_t)((2 * ring.border + ring.border_count) / (2 * ring.border_count));
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++) {
                int tx = x - frame.left, ty = y - frame.top;
                bool in = tx >= 0 && tx < frame.width && ty >= 0 && ty < frame.height;
                uint8_t value = in ? area_mean(&view, &frame, tx, ty, c) : margin;
                *pixels++ = invert ? (uint8_t)(255 - value) : value;
            }
    }
    tell_story(&view, &frame, width, height, polarity, story);
    return true;
}
