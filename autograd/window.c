#include "autograd/window.h"

Window window_identity(void) {
    return (Window){.kernel = {1, 1, 1}, .stride = {1, 1, 1}, .dilation = {1, 1, 1}};
}

bool window_padded(const Window *window) {
    bool padded = false;
    for (int d = 0; d < SPATIAL; d++) padded |= window->padding[d] || window_padding_end(window, d);
    return padded;
}

int window_out(const Window *window, int d, int in) {
    int reach = window->dilation[d] * (window->kernel[d] - 1) + 1;
    int room = in + window->padding[d] + window_padding_end(window, d) - reach;
    return room < 0 ? 0 : room / window->stride[d] + 1;
}

void window_sizes(const Shape *batched, int size[SPATIAL]) {
    int rank = batched->rank - 2;
    CHECK(rank >= 1 && rank <= SPATIAL, "rank %d is not N C and 1 to 3 spatial dimensions",
          batched->rank);
    for (int d = 0; d < SPATIAL; d++) {
        int from = d - (SPATIAL - rank);
        size[d] = from < 0 ? 1 : batched->dim[2 + from];
    }
}

bool window_fits(const Window *window, const Shape *sample, Error *error) {
    Shape batched = shape_batched(sample, 1);
    int size[SPATIAL];
    char text[SHAPE_TEXT];
    window_sizes(&batched, size);
    for (int d = 0; d < SPATIAL; d++)
        if (window_out(window, d, size[d]) < 1)
            return error_set(error, ERROR_INPUT, "a kernel of %d does not fit into %s",
                             window->dilation[d] * (window->kernel[d] - 1) + 1,
                             shape_text(sample, text));
    return true;
}

Shape window_shape(const Window *window, const Shape *batched, int channels) {
    int size[SPATIAL];
    window_sizes(batched, size);
    int rank = batched->rank - 2;
    Shape out = {.rank = batched->rank, .dim = {batched->dim[0], channels}};
    for (int i = 0; i < rank; i++) {
        int d = SPATIAL - rank + i;
        out.dim[2 + i] = window_out(window, d, size[d]);
        CHECK(out.dim[2 + i] > 0, "a kernel of %d does not fit a size of %d", window->kernel[d],
              size[d]);
    }
    return out;
}

Span window_span(const Window *window, int d, int k, int in, int out) {
    int stride = window->stride[d];
    int first = k * window->dilation[d] - window->padding[d]; /* input position for output 0 */
    int room = in - 1 - first;                                /* from there to the last input */
    Span span = {.begin = first < 0 ? (stride - 1 - first) / stride : 0,
                 .end = room < 0 ? 0 : room / stride + 1};
    if (span.end > out) span.end = out;
    if (span.begin > span.end) span.begin = span.end;
    return span;
}

int window_inside(const Window *window, int d, int o, int in) {
    int first = o * window->stride[d] - window->padding[d], inside = 0;
    for (int k = 0; k < window->kernel[d]; k++) {
        int at = first + k * window->dilation[d];
        inside += at >= 0 && at < in;
    }
    return inside;
}
