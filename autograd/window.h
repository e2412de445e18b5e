/* Window: how a kernel moves over 1, 2 or 3 spatial dimensions. One geometry serves conv1d to
 * conv3d and every pool: all loops run over D H W, and missing leading dimensions have size 1.
 * Sizes as in PyTorch: out = floor((in + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.
 * Padding may differ between both sides (ONNX's pads, TensorFlow's SAME); rounding the size up
 * (ceil_mode) is padding at the end, too. */
#pragma once

#include "autograd/error.h"
#include "autograd/tensor.h"

enum { SPATIAL = 3 };

typedef struct Window {
    int kernel[SPATIAL], stride[SPATIAL], padding[SPATIAL], dilation[SPATIAL]; /* D H W */
    int uneven[SPATIAL]; /* padding at the end less that at the beginning, which `padding` is */
} Window;

static inline int window_padding_end(const Window *window, int d) {
    return window->padding[d] + window->uneven[d];
}

/* Is there padding on any side? */
bool window_padded(const Window *window);

/* A window of kernel 1, stride 1, padding 0, dilation 1: the identity in every dimension. */
Window window_identity(void);

/* The output size along dimension d for an input of size `in`; < 1 when the kernel does not fit. */
int window_out(const Window *window, int d, int in);

/* The D H W sizes behind N and C of a tensor's shape (rank 3 to 5), right-aligned, missing
 * ones 1. */
void window_sizes(const Shape *batched, int size[SPATIAL]);

/* Whether the window has a place in a sample of shape C (D (H)) W; if not, the reason in *error. */
bool window_fits(const Window *window, const Shape *sample, Error *error);

/* The shape of the result for a batched input: N, channels, then the output size of each of the
 * input's spatial dimensions. CHECKs that the kernel fits. */
Shape window_shape(const Window *window, const Shape *batched, int channels);

/* The output positions begin .. end-1 along dimension d at which kernel place k lies on the input
 * and not on the padding: 0 <= o stride + k dilation - padding < in. */
typedef struct Span {
    int begin, end; /* 0 <= begin <= end <= out */
} Span;
Span window_span(const Window *window, int d, int k, int in, int out);

/* How many kernel places along dimension d lie on an input of size `in` at output position o. */
int window_inside(const Window *window, int d, int o, int in);
