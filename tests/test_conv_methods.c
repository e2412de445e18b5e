/* The methods of convolutions against the formula, in double, and when each is chosen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "autograd/kernels/conv_map.h"
#include "autograd/kernels/parallel.h"
#include "autograd/kernels/tile.h"
#include "autograd/ops.h"
#include "tests/quantized.h"
#include "tests/random_net.h"
#include "tests/reference.h"

/* Of the largest sum of absolute products: a transform spreads roundings over its tile, so an
 * element at the edge has those of its neighbours too. A plain sum in float32 is off by a few
 * roundings, 2^-24; the transforms' entries make that up to 7 in what is looked at here. A wrong
 * entry, place or tile is off by tenths of the whole. */
static const double TOLERANCE = 16 * 0x1p-24;

/* A map between planes of one kernel of 3x3. */
typedef struct Case {
    int samples, groups, coarse_channels, fine_channels; /* channels of one group */
    int fine[2], padding;
} Case;

static ConvMap map_of(Arena *arena, const Case *c, bool exact) {
    int p = c->padding;
    Window window = {{1, 3, 3}, {1, 1, 1}, {0, p, p}, {1, 1, 1}, {0, 0, p}}; /* more at the end */
    Shape fine = SHAPE(c->samples, c->groups * c->fine_channels, c->fine[0], c->fine[1]);
    Shape coarse = window_shape(&window, &fine, c->groups * c->coarse_channels);
    return *conv_map_new(arena, &window, c->groups, &coarse, &fine, exact);
}

static Tensor *random_tensor(Arena *arena, Rng *rng, size_t count) {
    Tensor *t = tensor_new(arena, SHAPE((int)count));
    for (size_t i = 0; i < count; i++) t->data[i] = rng_uniform(rng) * 2 - 1;
    return t;
}

/* Calls body for every product of one sample's group: indices into coarse[R,P], fine[C,Q], w[R,K].
 */
typedef struct Sums {
    const float *coarse, *fine, *w;
    double *to_coarse, *to_fine, *to_w, *size_coarse, *size_fine, *size_w;
} Sums;

static void add_products(const ConvMap *map, const Sums *s) {
    const int *size = map->sides.coarse, *wide = map->sides.fine, *padding = map->window.padding;
    int rows = map->sides.rows, channels = map->sides.channels, plane = size[1] * size[2];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < channels; c++)
            for (int k = 0; k < 9; k++)
                for (int p = 0; p < plane; p++) {
                    int h = p / size[2] + k / 3 - padding[1], v = p % size[2] + k % 3 - padding[2];
                    if (h < 0 || h >= wide[1] || v < 0 || v >= wide[2]) continue;
                    int i = r * plane + p, j = (c * wide[1] + h) * wide[2] + v,
                        l = (r * channels + c) * 9 + k;
                    double y = (double)s->coarse[i], x = (double)s->fine[j], w = (double)s->w[l];
                    s->to_coarse[i] += w * x, s->size_coarse[i] += fabs(w * x);
                    s->to_fine[j] += w * y, s->size_fine[j] += fabs(w * y);
                    s->to_w[l] += x * y, s->size_w[l] += fabs(x * y);
                }
}

static void assert_near(const char *what, const char *method, const float *got, const double *want,
                        const double *size, size_t count) {
    double most = 0;
    for (size_t i = 0; i < count; i++) most = fmax(most, size[i]);
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - want[i]) <= TOLERANCE * most))
            fail_msg("%s, %s: element %zu is %.9g, not %.9g: off by %.3g of its products", method,
                     what, i, (double)got[i], want[i], fabs((double)got[i] - want[i]) / most);
}

/* All directions by the map's method, a few samples at a time, results added to bias or to what is
 * there. */
typedef struct Results {
    float *coarse, *fine, *w;
} Results;

typedef struct Passes {
    ConvPass down, up;
    const Sums *in;
    const Results *out;
    float *dw; /* [groups][gradient] */
} Passes;

static void run_passes(const void *context, const ConvRun *run) {
    const Passes *p = context;
    const ConvMap *map = p->down.map;
    const ConvMethod *method = map->method;
    for (int i = 0; i < run->samples; i++) {
        size_t s = conv_run_at(run, i);
        method->take(&p->down, FINE, i, p->in->fine + s * map->fine, 0);
        method->take(&p->down, COARSE, i, p->in->coarse + s * map->coarse, 0);
        method->take(&p->up, COARSE, i, p->in->coarse + s * map->coarse, 0);
    }
    method->weight(&p->down, run->samples, p->dw + (size_t)run->group * p->down.gradient, 0);
    method->multiply(&p->down, COARSE, run->group, run->samples, 0);
    method->multiply(&p->up, FINE, run->group, run->samples, 0);
    for (int i = 0; i < run->samples; i++) {
        size_t s = conv_run_at(run, i);
        conv_pass_give(&p->down, COARSE, run->group, i, p->out->coarse + s * map->coarse, false, 0);
        conv_pass_give(&p->up, FINE, run->group, i, p->out->fine + s * map->fine, true, 0);
    }
}

static void run_method(Arena *arena, const ConvMap *map, const Sums *in, const float *bias,
                       const Results *out) {
    Passes passes = {.in = in, .out = out};
    passes.down = conv_pass_new(arena, map, CONV_DOWN | CONV_WEIGHT, in->w, bias);
    passes.up = conv_pass_new(arena, map, CONV_UP, in->w, NULL);
    passes.dw = arena_zeros(arena, sizeof(float) * passes.down.gradient * (size_t)map->groups);
    for (int i = 0; i < chunk_count(map->batch); i++)
        conv_pass_chunk(&passes.down, i, 0, run_passes, &passes);
    conv_pass_unpack(&passes.down, passes.dw, out->w);
}

static void check_method(Arena *arena, Rng *rng, const ConvMap *map) {
    size_t groups = (size_t)map->groups, all = (size_t)map->batch * groups;
    size_t fine = all * map->fine, coarse = all * map->coarse, weights = groups * map->weights;
    size_t rows = (size_t)map->sides.rows, plane = map->coarse / rows;
    Sums s = {
        random_tensor(arena, rng, coarse)->data,     random_tensor(arena, rng, fine)->data,
        random_tensor(arena, rng, weights)->data,    arena_zeros(arena, coarse * sizeof(double)),
        arena_zeros(arena, fine * sizeof(double)),   arena_zeros(arena, weights * sizeof(double)),
        arena_zeros(arena, coarse * sizeof(double)), arena_zeros(arena, fine * sizeof(double)),
        arena_zeros(arena, weights * sizeof(double))};
    const float *bias = random_tensor(arena, rng, groups * rows)->data;
    Results out = {random_tensor(arena, rng, coarse)->data, random_tensor(arena, rng, fine)->data,
                   random_tensor(arena, rng, weights)->data};
    for (size_t i = 0; i < fine; i++) s.to_fine[i] = (double)out.fine[i], s.size_fine[i] = 1;
    for (size_t i = 0; i < weights; i++) s.to_w[i] = (double)out.w[i], s.size_w[i] = 1;
    for (size_t i = 0; i < coarse; i++)
        s.to_coarse[i] = (double)bias[i / plane % (groups * rows)], s.size_coarse[i] = 1;
    for (size_t n = 0; n < all; n++) {
        size_t x = n * map->fine, y = n * map->coarse, w = n % groups * map->weights;
        add_products(map, &(Sums){s.coarse + y, s.fine + x, s.w + w, s.to_coarse + y, s.to_fine + x,
                                  s.to_w + w, s.size_coarse + y, s.size_fine + x, s.size_w + w});
    }
    run_method(arena, map, &s, bias, &out);
    const char *name = map->method->name;
    assert_near("down", name, out.coarse, s.to_coarse, s.size_coarse, coarse);
    assert_near("up", name, out.fine, s.to_fine, s.size_fine, fine);
    assert_near("weight", name, out.w, s.to_w, s.size_w, weights);
}

static void test_methods(void **state) {
    (void)state;
    Rng rng = rng_stream(5, RNG_TEST, 0);
    int winograd = 0;
    for (int trial = 0; trial < 60; trial++) {
        Arena *arena = arena_new();
        Case c = {random_between(&rng, 1, 11),
                  1 + (trial % 7 == 0),
                  random_between(&rng, 9, 33),
                  random_between(&rng, 9, 33),
                  {0},
                  random_between(&rng, 0, 2)};
        for (int d = 0; d < 2; d++) c.fine[d] = random_between(&rng, 5, 18) - 2 * c.padding + 2;
        if (c.fine[0] < 1 || c.fine[1] < 1) c.fine[0] = c.fine[1] = 7;
        if (trial % 6 == 0) c.fine_channels = 1 + trial % 4; /* by lines */
        ConvMap map = map_of(arena, &c, false);
        for (const ConvMethod *const *method = conv_methods; *method; method++) {
            if (!(*method)->fits(&map)) continue;
            winograd += *method == &conv_winograd;
            map.method = *method;
            check_method(arena, &rng, &map);
        }
        arena_free(arena);
    }
    assert_true(winograd >= 20);
}

static void test_choice(void **state) {
    (void)state;
    Arena *arena = arena_new();
    static const Case netbn = {64, 1, 40, 40, {13, 13}, 0}, deep = {1, 1, 64, 64, {8, 8}, 1},
                      many = {1, 1, 136, 136, {13, 13}, 0}, depthwise = {1, 40, 1, 1, {13, 13}, 0},
                      images = {1, 1, 40, 1, {28, 28}, 0}, wide = {1, 1, 512, 512, {8, 8}, 1};
    assert_ptr_equal(map_of(arena, &netbn, false).method, &conv_winograd);
    assert_ptr_equal(map_of(arena, &deep, false).method, &conv_winograd);
    assert_ptr_equal(map_of(arena, &many, false).method, &conv_winograd);
    assert_ptr_equal(map_of(arena, &depthwise, false).method, &conv_direct);
    assert_ptr_equal(map_of(arena, &images, false).method, &conv_direct);
    assert_ptr_equal(map_of(arena, &wide, false).method, &conv_direct);
    assert_ptr_equal(map_of(arena, &netbn, true).method, &conv_direct);
    ConvMap map = map_of(arena, &netbn, false);
    map.window.stride[2] = 2;
    assert_false(conv_winograd.fits(&map));
    arena_free(arena);
}

/* Codes of eight bits, forward and the weight's gradient: on a tape that is exact, whole numbers.
 */
static void test_exact(void **state) {
    (void)state;
    enum { C = 24, SIZE = 10, OUT = SIZE - 2 };
    Rng rng = rng_stream(6, RNG_TEST, 0);
    Arena *arena = arena_new();
    Tape *tape = tape_new(true);
    tape->exact = true;
    Tensor *x = tensor_new(arena, SHAPE(1, C, SIZE, SIZE));
    Tensor *w = tensor_new(arena, SHAPE(C, C, 3, 3));
    for (size_t i = 0; i < x->count; i++) x->data[i] = (float)random_between(&rng, -255, 255);
    for (size_t i = 0; i < w->count; i++) w->data[i] = (float)random_between(&rng, -127, 127);
    w->needs_grad = true;
    tensor_grad(arena, w);
    Tensor *y = op_conv(tape, x, w, NULL,
                        &(ConvSpec){{{1, 3, 3}, {1, 1, 1}, {0}, {1, 1, 1}, {0, 0, 0}}, 1});
    for (int r = 0; r < C; r++)
        for (int p = 0; p < OUT * OUT; p++) {
            long sum = 0;
            for (int c = 0; c < C; c++)
                for (int k = 0; k < 9; k++)
                    sum += lrintf(w->data[(r * C + c) * 9 + k]) *
                           lrintf(x->data[(c * SIZE + p / OUT + k / 3) * SIZE + p % OUT + k % 3]);
            assert_true(y->data[r * OUT * OUT + p] == (float)sum);
        }
    Tensor *only = tensor_zeros(arena, SHAPE(1, (int)y->count));
    only->data[OUT + 3] = 1; /* output 0, row 1, column 3 */
    tape_backward(tape, op_linear(tape, op_reshape(tape, y, SHAPE(1, (int)y->count)), only, NULL));
    for (int c = 0; c < C; c++)
        for (int k = 0; k < 9; k++)
            assert_true(w->grad[c * 9 + k] == x->data[(c * SIZE + 1 + k / 3) * SIZE + 3 + k % 3]);
    tape_free(tape);
    arena_free(arena);
}

/* N11 where training would take Winograd's way: exact evaluation gives the program's codes. */
static void test_engines_agree(void **state) {
    (void)state;
    enum { IMAGES = 12 };
    static const Normalization pixels = {1, {0.3f}, {0.4f}};
    Rng rng = rng_stream(8, RNG_TEST, 0);
    QuantNet *net = quantized_net(
        "x = input shape=1x14x12\na = conv2d x out=24 kernel=3\nr = relu a\n"
        "b = conv2d r out=32 kernel=3 padding=1\nt = conv_transpose2d b out=24 kernel=3\n"
        "f = flatten t\nfc = linear f out=3");
    quantized_calibrate(net);
    quantized_freeze(net);
    Error error = {0};
    Program *program = program_build(net, &pixels, &error);
    if (!program) fail_msg("%s", error.message);
    size_t bytes = shape_count(&net->graph->node[0].shape);
    Arena *arena = arena_new();
    uint8_t *image = arena_alloc(arena, IMAGES * bytes);
    float *x = arena_alloc(arena, IMAGES * bytes * sizeof *x);
    random_pixels(&rng, IMAGES, bytes, image);
    normalized(&pixels, IMAGES, bytes, image, x);
    assert_engines_agree("wide kernels of 3x3", net, program, IMAGES, x, image);
    arena_free(arena);
    program_free(program);
    quantized_free(net);
}

/* A sample's result has the same bits whatever is worked on beside it, on any number of threads. */
static void test_bits(void **state) {
    (void)state;
    enum { N = 11, C = 24, SIZE = 9 };
    Rng rng = rng_stream(7, RNG_TEST, 0);
    Arena *arena = arena_new();
    const ConvSpec spec = {{{1, 3, 3}, {1, 1, 1}, {0, 1, 1}, {1, 1, 1}, {0, 0, 0}}, 1};
    Tensor *x = random_tensor(arena, &rng, (size_t)N * C * SIZE * SIZE);
    Tensor *w = random_tensor(arena, &rng, (size_t)C * C * 9);
    x->shape = SHAPE(N, C, SIZE, SIZE);
    w->shape = SHAPE(C, C, 3, 3);
    size_t sample = (size_t)C * SIZE * SIZE;
    Tape *all = tape_new(false), *one = tape_new(false);
    restart_pool(1);
    const Tensor *y = op_conv(all, x, w, NULL, &spec);
    for (int threads = 1; threads <= 3; threads++) {
        restart_pool(threads);
        for (int begin = 0; begin < N; begin++)
            for (int end = begin + 1; end <= N; end += 3) {
                Tensor *part = tensor_copy(arena, SHAPE(end - begin, C, SIZE, SIZE),
                                           x->data + (size_t)begin * sample);
                const Tensor *got = op_conv(one, part, w, NULL, &spec);
                assert_memory_equal(got->data, y->data + (size_t)begin * sample,
                                    got->count * sizeof(float));
            }
    }
    tape_free(one);
    tape_free(all);
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods), cmocka_unit_test(test_choice),
        cmocka_unit_test(test_exact),   cmocka_unit_test(test_engines_agree),
        cmocka_unit_test(test_bits),
    };
    return cmocka_run_group_tests(tests, NULL, stop_pool);
}
