#include "tests/random_net.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

/* The text so far and the value that the next node reads. */
typedef struct Writer {
    Rng *rng;
    char *text;
    size_t used;
    int nodes;
    int channels, height, width; /* of the value `last` */
    char last[16];
} Writer;

static bool chance(Rng *rng, uint32_t one_in) {
    return rng_below(rng, one_in) == 0;
}
static int between(Rng *rng, int low, int high) {
    return low + (int)rng_below(rng, (uint32_t)(high - low + 1));
}

/* Adds "nK = <words>" and makes it the last value. */
__attribute__((format(printf, 2, 3))) static void node(Writer *w, const char *format, ...) {
    char name[16];
    va_list args;
    snprintf(name, sizeof name, "n%d", w->nodes++);
    w->used += (size_t)snprintf(w->text + w->used, RANDOM_NET_TEXT - w->used, "%s = ", name);
    va_start(args, format);
    w->used += (size_t)vsnprintf(w->text + w->used, RANDOM_NET_TEXT - w->used, format, args);
    va_end(args);
    w->used += (size_t)snprintf(w->text + w->used, RANDOM_NET_TEXT - w->used, "\n");
    assert_true(w->used < RANDOM_NET_TEXT);
    memcpy(w->last, name, sizeof name);
}

static void maybe_norm_and_relu(Writer *w) {
    if (chance(w->rng, 2)) node(w, "batchnorm %s", w->last);
    if (chance(w->rng, 2)) node(w, chance(w->rng, 4) ? "relu6 %s" : "relu %s", w->last);
}

/* A kernel size that fits `in` with this padding and dilation. */
static int kernel_for(Rng *rng, int in, int ends, int dilation) {
    int k = between(rng, 1, 3);
    while (dilation * (k - 1) + 1 > in + ends) k--;
    return k;
}

/* `ends`: padding of both sides. */
static int out_size(int in, int kernel, int stride, int ends, int dilation) {
    return (in + ends - dilation * (kernel - 1) - 1) / stride + 1;
}

/* Padding at the beginning and at the end, mostly alike. */
typedef struct Ends {
    int begin, end;
    char text[16];
} Ends;

static Ends random_ends(Rng *rng, int most) {
    Ends ends = {.begin = between(rng, 0, most)};
    ends.end = chance(rng, 4) ? between(rng, 0, most) : ends.begin;
    snprintf(ends.text, sizeof ends.text, ends.begin == ends.end ? "%d" : "%d:%d", ends.begin,
             ends.end);
    return ends;
}

static void conv(Writer *w) {
    Rng *rng = w->rng;
    int stride = chance(rng, 3) ? 2 : 1, dilation = between(rng, 1, 2);
    Ends padding = random_ends(rng, 2);
    int ends = padding.begin + padding.end;
    int kh = kernel_for(rng, w->height, ends, dilation);
    int kw = kernel_for(rng, w->width, ends, dilation);
    int groups = chance(rng, 2) ? 1 : w->channels; /* depthwise */
    if (w->channels % 2 == 0 && chance(rng, 3)) groups = 2;
    int out = groups * between(rng, 1, groups > 2 ? 2 : 5);
    if (out > 12) out = groups;
    node(w, "conv2d %s out=%d kernel=%dx%d stride=%d padding=%s dilation=%d groups=%d bias=%s",
         w->last, out, kh, kw, stride, padding.text, dilation, groups,
         chance(rng, 3) ? "false" : "true");
    w->channels = out;
    w->height = out_size(w->height, kh, stride, ends, dilation);
    w->width = out_size(w->width, kw, stride, ends, dilation);
    maybe_norm_and_relu(w);
}

static void pool(Writer *w) {
    Rng *rng = w->rng;
    int least = w->height < w->width ? w->height : w->width;
    int kernel = between(rng, 1, least < 3 ? least : 3), stride = between(rng, 1, 2);
    Ends padding = random_ends(rng, kernel / 2);
    int ends = padding.begin + padding.end;
    int dilation = 2 * (kernel - 1) < least ? between(rng, 1, 2) : 1;
    if (chance(rng, 2)) {
        node(w, "maxpool %s kernel=%d stride=%d padding=%s dilation=%d", w->last, kernel, stride,
             padding.text, dilation);
    } else {
        dilation = 1;
        node(w, "avgpool %s kernel=%d stride=%d padding=%s count_include_pad=%s", w->last, kernel,
             stride, padding.text, chance(rng, 2) ? "true" : "false");
    }
    w->height = out_size(w->height, kernel, stride, ends, dilation);
    w->width = out_size(w->width, kernel, stride, ends, dilation);
    if (chance(rng, 4)) node(w, "relu %s", w->last);
}

/* A branch that keeps the shape, added to the value it started from. */
static void residual(Writer *w) {
    char start[16];
    memcpy(start, w->last, sizeof start);
    bool wide = chance(w->rng, 2);
    node(w, "conv2d %s out=%d kernel=%d padding=%d", w->last, w->channels, wide ? 3 : 1, wide);
    maybe_norm_and_relu(w);
    if (chance(w->rng, 4)) memcpy(start, w->last, sizeof start); /* twice the same value */
    node(w, "add %s %s", start, w->last);
    if (chance(w->rng, 2)) node(w, "relu %s", w->last);
}

/* A function of one value, or of a position's values. */
static void function(Writer *w) {
    switch (rng_below(w->rng, 8)) {
    case 0: node(w, "relu6 %s", w->last); break;
    case 1: node(w, "leaky_relu %s slope=%s", w->last, chance(w->rng, 2) ? "0.2" : "-1.5"); break;
    case 2: node(w, "sigmoid %s", w->last); break;
    case 3: node(w, "tanh %s", w->last); break;
    case 5: node(w, "elu %s alpha=0.7", w->last); break;
    case 4: node(w, "hardswish %s", w->last); break;
    case 6: node(w, "hardtanh %s min_val=-0.3", w->last); break;
    default: node(w, "softmax %s", w->last);
    }
}

/* A branch that says how much of each value passes. */
static void gate(Writer *w) {
    char start[16];
    memcpy(start, w->last, sizeof start);
    if (chance(w->rng, 2)) node(w, "conv2d %s out=%d kernel=1", w->last, w->channels);
    node(w, chance(w->rng, 2) ? "sigmoid %s" : "relu6 %s", w->last); /* floats must not overflow */
    node(w, "mul %s %s", start, w->last);
    if (chance(w->rng, 2)) node(w, "relu %s", w->last);
}

/* Up to three branches side by side, of which the value itself is one. */
static void branches(Writer *w) {
    char start[16], name[3][16];
    int count = between(w->rng, 2, 3), channels = w->channels;
    if (count * w->channels > 14) return;
    memcpy(start, w->last, sizeof start);
    for (int k = 0; k < count; k++) {
        int out = between(w->rng, 1, 4);
        memcpy(w->last, start, sizeof start);
        if (k) {
            node(w, "conv2d %s out=%d kernel=1", start, out);
            maybe_norm_and_relu(w);
            channels += out;
        }
        memcpy(name[k], w->last, sizeof start);
    }
    node(w, count == 2 ? "concat %s %s" : "concat %s %s %s", name[0], name[1], name[2]);
    if (chance(w->rng, 2)) node(w, chance(w->rng, 2) ? "relu6 %s" : "relu %s", w->last);
    w->channels = channels;
}

/* Height becomes channels, channels become height. */
static void turn(Writer *w) {
    int height = w->channels;
    node(w, "reshape %s shape=%dx%dx%d", w->last, w->height, height, w->width);
    w->channels = w->height;
    w->height = height;
}

/* The same, each value with its place; or height becomes width. */
static void transpose(Writer *w) {
    bool channels = chance(w->rng, 2);
    int height = channels ? w->channels : w->width;
    node(w, "transpose %s order=%s", w->last, channels ? "2x1x3" : "1x3x2");
    *(channels ? &w->channels : &w->width) = w->height;
    w->height = height;
}

/* A part of the channels, lines or columns. */
static void slice(Writer *w) {
    int axis = between(w->rng, 1, 3);
    int *size = axis == 1 ? &w->channels : axis == 2 ? &w->height : &w->width;
    int begin = between(w->rng, 0, *size / 2), end = between(w->rng, begin + 1, *size);
    int step = between(w->rng, 1, 2);
    node(w, "slice %s axis=%d begin=%d end=%d step=%d", w->last, axis, begin, end, step);
    *size = (end - begin + step - 1) / step;
}

static int divisor_of(Rng *rng, int n) {
    int d = between(rng, 1, n);
    while (n % d) d--;
    return d;
}

static void adaptive_pool(Writer *w) {
    w->height = divisor_of(w->rng, w->height);
    w->width = divisor_of(w->rng, w->width);
    node(w, "adaptiveavgpool %s out=%dx%d", w->last, w->height, w->width);
}

static void block(Writer *w) {
    switch (rng_below(w->rng, 16)) {
    case 0:
    case 1: conv(w); break;
    case 2: pool(w); break;
    case 3: residual(w); break;
    case 4: node(w, "dropout %s p=0.3", w->last); break;
    case 5: node(w, "batchnorm %s", w->last); break;
    case 6:
    case 7: function(w); break;
    case 8:
    case 9: gate(w); break;
    case 10:
    case 11: branches(w); break;
    case 12: chance(w->rng, 2) ? turn(w) : adaptive_pool(w); break;
    case 13: transpose(w); break;
    case 14: slice(w); break;
    default: node(w, "relu %s", w->last);
    }
}

static void head(Writer *w, const char *from, int classes) {
    memcpy(w->last, from, sizeof w->last);
    if (chance(w->rng, 3)) node(w, "globalavgpool %s", w->last);
    node(w, "flatten %s", w->last);
    if (chance(w->rng, 3)) {
        node(w, "linear %s out=%d", w->last, between(w->rng, 1, 20));
        maybe_norm_and_relu(w);
    }
    node(w, "linear %s out=%d bias=%s", w->last, classes, chance(w->rng, 3) ? "false" : "true");
    if (chance(w->rng, 3)) node(w, "batchnorm %s", w->last);
}

void random_net(Rng *rng, char text[RANDOM_NET_TEXT]) {
    Writer w = {.rng = rng, .text = text, .channels = between(rng, 1, 4)};
    w.height = between(rng, 3, 9);
    w.width = between(rng, 3, 9);
    node(&w, "input shape=%dx%dx%d", w.channels, w.height, w.width);
    for (int i = between(rng, 1, 6); i > 0; i--) block(&w);
    if (chance(rng, 8)) return; /* a net that ends in an image */
    char trunk[16], first[16];
    int classes = between(rng, 1, 10);
    memcpy(trunk, w.last, sizeof trunk);
    head(&w, trunk, classes);
    for (int i = chance(rng, 2) ? between(rng, 1, 2) : 0; i > 0; i--) {
        memcpy(first, w.last, sizeof first);
        head(&w, trunk, classes);
        node(&w, "add %s %s", first, w.last);
    }
    if (chance(rng, 5)) node(&w, "relu %s", w.last);
}

/* --- parameters --- */

static float pick(Rng *rng, const float from[], uint32_t count) {
    return from[rng_below(rng, count)];
}

static void random_weighted(Rng *rng, Tensor *weight, Tensor *bias) {
    static const float sizes[] = {1, 1, 1, 1, 0.01f, 30, 1e-6f, 1e4f, 0};
    static const float biases[] = {0, 0.1f, 1, 1, 100, 1e4f};
    size_t outputs = (size_t)weight->shape.dim[0], depth = weight->count / outputs;
    bool tame = chance(rng, 2);
    for (size_t o = 0; o < outputs; o++) {
        float size = tame ? 1 : pick(rng, sizes, 9), offset = tame ? 0 : 0.5f * rng_normal(rng);
        for (size_t k = 0; k < depth; k++)
            weight->data[o * depth + k] = size * (rng_normal(rng) + offset);
        if (bias) bias->data[o] = rng_normal(rng) * (tame ? 1 : pick(rng, biases, 6));
    }
}

static void random_batchnorm(Rng *rng, const Node *node) {
    static const float gammas[] = {1, 1, -1, 0, 1e-5f, 20};
    static const float vars[] = {1, 1, 1, 0.1f, 100, 0, 1e-9f};
    Tensor *gamma = node_tensor(node, "weight"), *beta = node_tensor(node, "bias");
    Tensor *mean = node_tensor(node, "running_mean"), *var = node_tensor(node, "running_var");
    for (size_t c = 0; c < gamma->count; c++) {
        gamma->data[c] = pick(rng, gammas, 6) * (0.5f + rng_uniform(rng));
        var->data[c] = pick(rng, vars, 7) * (0.5f + rng_uniform(rng));
        beta->data[c] = rng_normal(rng);
        mean->data[c] = rng_normal(rng);
    }
}

void random_parameters(Rng *rng, Graph *graph) {
    for (int i = 0; i < graph->nodes; i++) {
        Node *n = &graph->node[i];
        if (strcmp(n->layer->rule, "weighted") == 0)
            random_weighted(rng, node_tensor(n, "weight"), node_tensor(n, "bias"));
        if (strcmp(n->layer->rule, "fold") == 0) random_batchnorm(rng, n);
    }
}

QuantConfig random_config(Rng *rng) {
    QuantConfig config = quant_config_default();
    if (chance(rng, 3)) return config;
    config.activation.bits = between(rng, 2, 8);
    config.activation.is_signed = chance(rng, 2);
    config.activation.symmetric = chance(rng, 2);
    config.weight.bits = between(rng, 2, 8);
    config.weight.per_channel = chance(rng, 2);
    config.edge_bits = chance(rng, 2) ? 8 : between(rng, 2, 8);
    return config;
}

/* --- images --- */

void random_pixels(Rng *rng, int samples, size_t count, uint8_t *pixels) {
    for (int n = 0; n < samples; n++) {
        uint8_t colour = (uint8_t)rng_below(rng, 256);
        for (size_t i = 0; i < count; i++, pixels++)
            *pixels = n % 3 == 0   ? colour
                      : n % 3 == 1 ? (chance(rng, 2) ? 255 : 0)
                                   : (uint8_t)rng_below(rng, 256);
    }
}

Normalization random_normalization(Rng *rng, int channels) {
    Normalization pixels = {.channels = channels};
    for (int c = 0; c < channels; c++) {
        pixels.mean[c] = chance(rng, 2) ? 0 : rng_uniform(rng);
        pixels.std[c] = chance(rng, 2) ? 1 : 0.05f + rng_uniform(rng);
    }
    return pixels;
}

void normalized(const Normalization *pixels, int samples, size_t count, const uint8_t *from,
                float *x) {
    size_t plane = count / (size_t)pixels->channels;
    for (size_t i = 0; i < count * (size_t)samples; i++) {
        size_t c = i / plane % (size_t)pixels->channels;
        x[i] = normalize_byte(from[i], pixels->mean[c], pixels->std[c]);
    }
}

void calibrate_on(QuantNet *net, int samples, const float *x) {
    Tape *tape = tape_new(false);
    Error error = {0};
    Tensor *input = tensor_copy(tape->arena, shape_batched(&net->graph->node[0].shape, samples), x);
    quant_observe(net, true);
    quant_fake(net, true);
    graph_forward(net->graph, &(Run){.tape = tape, .error = &error}, input, NULL);
    quant_observe(net, false);
    if (error.code) fail_msg("%s", error.message);
    tape_free(tape);
}
