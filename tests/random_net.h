/* Small random nets for the tests of quantization: every layer, parameters and ranges of every
 * size. */
#pragma once

#include "autograd/normalize.h"
#include "quant/quantnet.h"

enum { RANDOM_NET_TEXT = 4096 };

/* A .net text: convolutions of all sorts, batchnorms that fold, relus that are absorbed and relus
 * that are not, pools, residual branches, several heads merged by adds, functions of one value,
 * gates, branches side by side, lone batchnorms, reshapes, transposes, slices. */
void random_net(Rng *rng, char text[RANDOM_NET_TEXT]);

/* Weights whose channels lie up to ten orders of magnitude apart, some of them zero; biases from
 * none to large; gammas that are zero or negative, variances that are zero. */
void random_parameters(Rng *rng, Graph *graph);

/* 2 to 8 bits, per tensor or per channel, signed or not, affine or symmetric. */
QuantConfig random_config(Rng *rng);

/* pixels[samples][C][H][W] of one image each of: one colour, only black and white, noise, in turn.
 */
void random_pixels(Rng *rng, int samples, size_t count, uint8_t *pixels);
Normalization random_normalization(Rng *rng, int channels);
/* x as the engines see the pixels. */
void normalized(const Normalization *pixels, int samples, size_t count, const uint8_t *from,
                float *x);

/* The net observes these images, by simulation with rounding on. */
void calibrate_on(QuantNet *net, int samples, const float *x);
