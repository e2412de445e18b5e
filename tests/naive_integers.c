#include "tests/naive_integers.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "nn/layers/conv.h"
#include "nn/layers/pool.h"
#include "nn/layers/view.h"
#include "quant/rules/integers.h"

/* Sizes are D H W; those that a shape has not are 1, in front. */
typedef struct Image {
    int channels, size[SPATIAL];
    const int64_t *q;
    int64_t zero;
} Image;

static void sizes_of(const Shape *s, int size[SPATIAL]) {
    for (int d = 0; d < SPATIAL; d++) {
        int dim = s->rank - SPATIAL + d;
        size[d] = dim > 0 ? s->dim[dim] : 1;
    }
}

static Image image_of(const Shape *s, const int64_t *q, const Quantizer *grid) {
    Image x = {.channels = s->dim[0], .q = q, .zero = grid->q.zero_point[0]};
    sizes_of(s, x.size);
    return x;
}

static int places_of(const Image *x) {
    return x->size[0] * x->size[1] * x->size[2];
}

/* Place k of the window that makes result `place` (D H W): where it lies; false: in the padding. */
static bool position(const Image *x, const Window *win, const int place[SPATIAL], int k,
                     int *index) {
    int at[SPATIAL];
    for (int d = SPATIAL - 1; d >= 0; d--) {
        at[d] = place[d] * win->stride[d] - win->padding[d] + k % win->kernel[d] * win->dilation[d];
        k /= win->kernel[d];
        if (at[d] < 0 || at[d] >= x->size[d]) return false;
    }
    *index = (at[0] * x->size[1] + at[1]) * x->size[2] + at[2];
    return true;
}

/* Result number p of a channel as D H W. */
static void place_of(int p, const int size[SPATIAL], int place[SPATIAL]) {
    for (int d = SPATIAL - 1; d >= 0; d--) {
        place[d] = p % size[d];
        p /= size[d];
    }
}

static int count_of(const int size[SPATIAL]) {
    return size[0] * size[1] * size[2];
}

/* q - Z. */
static int64_t value_at(const Image *x, int c, int index) {
    return x->q[c * places_of(x) + index] - x->zero;
}

/* The power of two n for which m 2^n lies in [2^30, 2^31), and m 2^n rounded. */
static int64_t scaled(double m, int n) {
    return (int64_t)nearbyint(m * pow(2, n));
}
static int shift_of(double m) {
    int n = 0;
    while (n < 62 && scaled(m, n) < 1 << 30) n++;
    return n;
}

/* N1 in double: the float quotient, rounded and clamped. */
static int64_t quantized(const Quantizer *grid, float x) {
    double code = nearbyint((double)(x / grid->q.scale[0])) + grid->q.zero_point[0];
    return (int64_t)fmin(fmax(code, grid->q.qmin), grid->q.qmax);
}

/* N6: the nearest whole number to sum / 2^n, ties up, on top of the zero point, clamped. */
static int64_t output_code(const QNode *q, __int128 sum, int n) {
    __int128 unit = (__int128)1 << n, twice = 2 * sum + unit;
    __int128 code = twice / (2 * unit) - (twice % (2 * unit) < 0) + q->out->q.zero_point[0];
    __int128 lo = q->relu ? q->out->q.zero_point[0] : q->out->q.qmin, hi = q->out->q.qmax;
    if (q->relu && strcmp(q->relu->layer->name, "relu6") == 0) hi = quantized(q->out, 6);
    return (int64_t)(code < lo ? lo : code > hi ? hi : code);
}

static double scale_of(const Quantizer *grid) {
    return (double)grid->q.scale[0];
}

/* A factor below 2^-32 brings every int32 sum to 0. */
static int64_t requantized(const QNode *q, int64_t sum, double m) {
    assert_in_range(llabs(sum), 0, INT32_MAX); /* N5: freezing has proven it */
    int n = shift_of(m);
    return output_code(q, m < 0x1p-32 ? 0 : (__int128)sum * scaled(m, n), n);
}

static void conv(const QNode *q, const Image *x, int64_t *y) {
    const ConvLayerSpec *spec = q->node->spec;
    const WeightedIntegers *w = q->integers;
    const Window *win = &spec->window;
    int in = x->channels / spec->groups, taps = count_of(win->kernel);
    int size[SPATIAL], place[SPATIAL], index;
    sizes_of(&q->node->shape, size);
    for (int o = 0; o < spec->out; o++) {
        int first = o / (spec->out / spec->groups) * in;
        double m = scale_of(q->in[0]) * (double)w->grid.scale[w->grid.channels == 1 ? 0 : o] /
                   scale_of(q->out);
        for (int p = 0; p < count_of(size); p++) {
            int64_t sum = w->bias[o];
            place_of(p, size, place);
            for (int k = 0; k < in * taps; k++)
                if (position(x, win, place, k % taps, &index))
                    sum += value_at(x, first + k / taps, index) * w->weight[o * in * taps + k];
            *y++ = requantized(q, sum, m);
        }
    }
}

static void linear(const QNode *q, const Image *x, int64_t *y) {
    const WeightedIntegers *w = q->integers;
    for (int o = 0; o < q->node->shape.dim[0]; o++) {
        int64_t sum = w->bias[o];
        for (int k = 0; k < x->channels; k++)
            sum += value_at(x, k, 0) * w->weight[o * x->channels + k];
        double scale = (double)w->grid.scale[w->grid.channels == 1 ? 0 : o];
        y[o] = requantized(q, sum, scale_of(q->in[0]) * scale / scale_of(q->out));
    }
}

static void pool(const QNode *q, const Image *x, int64_t *y) {
    const Window *win = &((const PoolSpec *)q->node->spec)->window;
    bool largest = strcmp(q->node->layer->name, "maxpool") == 0;
    int taps = count_of(win->kernel), size[SPATIAL], place[SPATIAL], index;
    bool counts = ((const PoolSpec *)q->node->spec)->count_include_pad || !window_padded(win);
    sizes_of(&q->node->shape, size);
    for (int c = 0; c < x->channels; c++)
        for (int p = 0; p < count_of(size); p++) {
            int64_t sum = 0, most = INT64_MIN;
            int inside = 0;
            place_of(p, size, place);
            for (int k = 0; k < taps; k++) {
                if (!position(x, win, place, k, &index)) continue;
                int64_t value = value_at(x, c, index);
                sum += value;
                inside++;
                most = value > most ? value : most;
            }
            double m = scale_of(q->in[0]) / ((counts ? taps : inside) * scale_of(q->out));
            *y++ = largest ? most + x->zero : requantized(q, sum, m);
        }
}

/* N7: each input times its factor at the joint shift, that of the largest factor. */
static void add(const QNode *q, const Image x[2], int64_t *y) {
    double m[2] = {scale_of(q->in[0]) / scale_of(q->out), scale_of(q->in[1]) / scale_of(q->out)};
    int n = shift_of(m[0] > m[1] ? m[0] : m[1]);
    for (size_t i = 0; i < shape_count(&q->node->shape); i++) {
        __int128 sum = 0;
        for (int k = 0; k < 2; k++) sum += (__int128)(x[k].q[i] - x[k].zero) * scaled(m[k], n);
        y[i] = output_code(q, sum, n);
    }
}

/* One weight for each channel. */
static void batchnorm(const QNode *q, const Image *x, int64_t *y) {
    const WeightedIntegers *w = q->integers;
    for (int c = 0; c < x->channels; c++) {
        double scale = (double)w->grid.scale[w->grid.channels == 1 ? 0 : c];
        double m = scale_of(q->in[0]) * scale / scale_of(q->out);
        for (int p = 0; p < places_of(x); p++)
            *y++ = requantized(q, value_at(x, c, p) * w->weight[c] + w->bias[c], m);
    }
}

static void mul(const QNode *q, const Image x[2], int64_t *y) {
    double m = scale_of(q->in[0]) * scale_of(q->in[1]) / scale_of(q->out);
    for (size_t i = 0; i < shape_count(&q->node->shape); i++)
        y[i] = requantized(q, (x[0].q[i] - x[0].zero) * (x[1].q[i] - x[1].zero), m);
}

static void concat(const QNode *q, const Image x[], int64_t *y) {
    for (int k = 0; k < q->node->inputs; k++)
        for (int i = 0; i < x[k].channels * places_of(&x[k]); i++)
            *y++ = requantized(q, x[k].q[i] - x[k].zero, scale_of(q->in[k]) / scale_of(q->out));
}

/* Shares of whole powers of e; the grid's step is one of 2^bits. */
static void softmax(const QNode *q, const Image *x, int64_t *y) {
    int places = places_of(x), n = q->out->spec.bits;
    for (int p = 0; p < places; p++) {
        int64_t most = INT64_MIN, sum = 0;
        for (int c = 0; c < x->channels; c++)
            most = x->q[c * places + p] > most ? x->q[c * places + p] : most;
        for (int pass = 0; pass < 2; pass++)
            for (int c = 0; c < x->channels; c++) {
                double d = (double)(most - x->q[c * places + p]);
                int64_t power = (int64_t)nearbyint(exp(-scale_of(q->in[0]) * d) * 8388608);
                if (pass == 0)
                    sum += power;
                else
                    y[c * places + p] = output_code(q, (2 * (power << n) + sum) / (2 * sum), 0);
            }
    }
}

/* A value's places counted dimension by dimension, channels first. */
static size_t count_up(const Shape *shape, int at[MAX_RANK]) {
    size_t i = 0;
    for (int d = 0; d < shape->rank; d++) i = i * (size_t)shape->dim[d] + (size_t)at[d];
    for (int d = shape->rank - 1; d >= 0 && ++at[d] == shape->dim[d]; d--) at[d] = 0;
    return i;
}

/* transpose and slice, by their definitions: where the result has the place (i1, i2, ...). */
static void moved(const QNode *q, const Image *x, int64_t *y) {
    const Shape *to = &q->node->shape, *from = &q->from[0]->shape;
    const TransposeSpec *turn = q->node->spec;
    const SliceSpec *part = q->node->spec;
    bool turns = strcmp(q->node->layer->name, "transpose") == 0;
    int at[MAX_RANK] = {0};
    for (size_t i = 0; i < shape_count(to); i++) {
        int place[MAX_RANK];
        for (int d = 0; d < to->rank; d++) place[turns ? turn->order.dim[d] - 1 : d] = at[d];
        if (!turns) place[part->axis - 1] = part->begin + at[part->axis - 1] * part->step;
        size_t element = count_up(from, place);
        y[count_up(to, at)] = x->q[element];
    }
}

/* The functions of one value, by their definitions. */
static float function(const Node *node, float x) {
    const char *name = node->layer->name;
    if (strcmp(name, "relu") == 0) return fmaxf(x, 0);
    if (strcmp(name, "relu6") == 0) return fminf(fmaxf(x, 0), 6);
    if (strcmp(name, "hardtanh") == 0)
        return fminf(fmaxf(x, *(const float *)node->spec), ((const float *)node->spec)[1]);
    if (strcmp(name, "sigmoid") == 0) return (float)(1 / (1 + exp(-(double)x)));
    if (strcmp(name, "tanh") == 0) return (float)tanh((double)x);
    if (strcmp(name, "hardswish") == 0) return x <= -3 ? 0 : x >= 3 ? x : x * (x + 3) / 6;
    if (strcmp(name, "elu") == 0)
        return x > 0 ? x : (float)((double)*(const float *)node->spec * expm1((double)x));
    if (strcmp(name, "leaky_relu") == 0) return x > 0 ? x : *(const float *)node->spec * x;
    fail_msg("no opinion on a %s", name);
    return 0;
}

static void pointwise(const QNode *q, const Image *x, int64_t *y) {
    for (size_t i = 0; i < shape_count(&q->node->shape); i++) {
        float value = q->in[0]->q.scale[0] * (float)(x->q[i] - x->zero);
        y[i] = quantized(q->out, function(q->node, value));
    }
}

static void input(const QNode *q, const Normalization *pixels, const uint8_t *image, int64_t *y) {
    size_t count = shape_count(&q->node->shape), plane = count / (size_t)pixels->channels;
    for (size_t i = 0; i < count; i++) {
        size_t c = i / plane;
        y[i] = quantized(q->out, ((float)image[i] / 255 - pixels->mean[c]) / pixels->std[c]);
    }
}

void naive_codes(const QuantNet *net, const Normalization *pixels, const uint8_t *image,
                 Arena *arena, int64_t *code[GRAPH_MAX_NODES]) {
    for (int i = 0; i < net->graph->nodes; i++) {
        const QNode *q = &net->node[i];
        const char *layer = q->node->layer->name;
        Image x[LAYER_MAX_INPUTS] = {{0}};
        for (int k = 0; k < q->node->inputs; k++)
            x[k] = image_of(&q->from[k]->shape, code[q->from[k]->index], q->in[k]);
        if (q->into || strcmp(layer, "flatten") == 0 || strcmp(layer, "dropout") == 0 ||
            strcmp(layer, "reshape") == 0) {
            code[i] = code[q->from[0]->index];
            continue;
        }
        code[i] = arena_alloc(arena, sizeof(int64_t) * shape_count(&q->node->shape));
        if (strcmp(layer, "input") == 0)
            input(q, pixels, image, code[i]);
        else if (strcmp(layer, "conv1d") == 0 || strcmp(layer, "conv2d") == 0 ||
                 strcmp(layer, "conv3d") == 0)
            conv(q, x, code[i]);
        else if (strcmp(layer, "linear") == 0)
            linear(q, x, code[i]);
        else if (strcmp(layer, "add") == 0)
            add(q, x, code[i]);
        else if (strcmp(layer, "mul") == 0)
            mul(q, x, code[i]);
        else if (strcmp(layer, "concat") == 0)
            concat(q, x, code[i]);
        else if (strcmp(layer, "transpose") == 0 || strcmp(layer, "slice") == 0)
            moved(q, x, code[i]);
        else if (strcmp(layer, "batchnorm") == 0)
            batchnorm(q, x, code[i]);
        else if (strcmp(layer, "softmax") == 0)
            softmax(q, x, code[i]);
        else if (strstr(layer, "pool"))
            pool(q, x, code[i]);
        else
            pointwise(q, x, code[i]);
    }
}
