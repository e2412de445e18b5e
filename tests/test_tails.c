/* Ops with a tail, and rounding joined with relu and pool, against the same ops one by one: equal
 * values and equal gradients, whatever is there already. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "autograd/op.h"
#include "autograd/ops.h"
#include "nn/graph.h"
#include "quant/fakequant.h"
#include "tests/reference.h"

enum { INPUTS = 4 }; /* x, w or gamma, b or beta, addend */

typedef struct Case {
    Tensor *in[INPUTS];
    Tail tail;
    Window window, pool;
    BatchNormSpec norm;
    QParams q;
} Case;

typedef Tensor *Head(Tape *tape, const Case *c, const Tail *tail);

static Tensor *conv(Tape *tape, const Case *c, const Tail *tail) {
    return op_conv_tail(tape, c->in[0], c->in[1], c->in[2], &(ConvSpec){c->window, 1}, tail);
}

static Tensor *batchnorm(Tape *tape, const Case *c, const Tail *tail) {
    return op_batchnorm_tail(tape, c->in[0], c->in[1], c->in[2], &c->norm, tail);
}

static Tensor *rest(Tape *tape, const Tail *tail, Tensor *y) {
    if (tail->addend) y = op_add(tape, y, tail->addend);
    if (tail->relu) y = op_relu(tape, y);
    return tail->pool ? op_maxpool(tape, y, tail->pool) : y;
}

/* The loss is the sum of y[i] (i mod 7 - 3). Gradients of inputs that are `given` are added to 1.
 */
static void backward(Tape *tape, Arena *arena, const Case *c, Tensor *y, const bool given[]) {
    for (int k = 0; k < INPUTS; k++) {
        if (!c->in[k]) continue;
        c->in[k]->grad = NULL;
        if (!given[k]) continue;
        float *grad = tensor_grad(arena, c->in[k]);
        for (size_t i = 0; i < c->in[k]->count; i++) grad[i] = 1;
    }
    Tensor *weight = tape_tensor(tape, SHAPE(1, (int)y->count));
    for (size_t i = 0; i < y->count; i++) weight->data[i] = (float)((int)(i % 7) - 3);
    Tensor *row = op_reshape(tape, y, SHAPE(1, (int)y->count));
    Tensor *loss = op_reshape(tape, op_linear(tape, row, weight, NULL), (Shape){0});
    tape_backward(tape, loss);
}

/* One run of the whole and one of the parts. */
static void compare(Arena *arena, Case *c, Tensor *whole(Tape *, const Case *),
                    Tensor *parts(Tape *, const Case *), const bool given[]) {
    Tape *tape = tape_new(true), *other = tape_new(true);
    Tensor *y = whole(tape, c);
    backward(tape, arena, c, y, given);
    float *grad[INPUTS] = {NULL};
    for (int k = 0; k < INPUTS; k++)
        if (c->in[k]) grad[k] = c->in[k]->grad;
    Tensor *z = parts(other, c);
    backward(other, arena, c, z, given);
    assert_true(shape_equal(&y->shape, &z->shape));
    assert_same("value", y->data, z->data, y->count);
    for (int k = 0; k < INPUTS; k++)
        if (grad[k]) assert_same("gradient", grad[k], c->in[k]->grad, c->in[k]->count);
    tape_free(tape);
    tape_free(other);
}

static Head *head;

static Tensor *whole_of_head(Tape *tape, const Case *c) {
    return head(tape, c, &c->tail);
}
static Tensor *parts_of_head(Tape *tape, const Case *c) {
    return rest(tape, &c->tail, head(tape, c, NULL));
}

static Tensor *integers(Arena *arena, Rng *rng, Shape shape) {
    Tensor *t = sample_leaf(arena, rng, shape, 1);
    fill_integers(rng, t->data, t->count);
    return t;
}

static BatchNormSpec norm_of(Arena *arena, int channels, bool training) {
    return (BatchNormSpec){tensor_zeros(arena, SHAPE(channels))->data,
                           tensor_zeros(arena, SHAPE(channels))->data, 0.1f, 1e-5f, training};
}

/* Planes that sum to 0: what a batchnorm multiplies and sums stays whole, so that the order in
 * which it does makes no difference. */
static Tensor *balanced(Arena *arena, Rng *rng, Shape shape) {
    Tensor *t = integers(arena, rng, shape);
    size_t plane = t->count / (size_t)shape.dim[0] / (size_t)shape.dim[1];
    for (float *v = t->data; v < t->data + t->count; v += plane)
        for (size_t i = 0; 2 * i < plane; i++) v[i] = 2 * i + 1 == plane ? 0 : -v[plane - 1 - i];
    return t;
}

/* A window that fits; windows that may lie in the padding alone are among them. */
static Window random_pool(Rng *rng, const Shape *x) {
    Window w = window_identity();
    int size[SPATIAL];
    window_sizes(x, size);
    for (int d = 1; d < SPATIAL; d++) {
        w.kernel[d] = random_between(rng, 1, 2);
        w.stride[d] = random_between(rng, 1, 2);
        w.padding[d] = random_between(rng, 0, 2) / 2;
        if (window_out(&w, d, size[d]) < 1) w.kernel[d] = 1;
    }
    return w;
}

static void random_tail(Arena *arena, Rng *rng, Case *c, const Shape *value, int trial) {
    c->tail.relu = trial & 1;
    if (trial & 2) c->tail.addend = c->in[3] = integers(arena, rng, *value);
    c->pool = random_pool(rng, value);
    if (trial & 4) c->tail.pool = &c->pool;
}

static void ops_with_tails(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Rng rng = rng_stream(4, RNG_TEST, 0);
    for (int trial = 0; trial < 200; trial++) {
        arena_reset(arena);
        Case c = {.window = window_identity()};
        int channels = random_between(&rng, 1, 30), size = random_between(&rng, 3, 20);
        Shape x = SHAPE(random_between(&rng, 1, 10), 2, size, random_between(&rng, 3, 20));
        head = trial % 2 ? batchnorm : conv;
        if (head == conv) {
            c.window.kernel[1] = c.window.kernel[2] = 3;
            c.window.padding[1] = random_between(&rng, 0, 1);
            c.in[1] = integers(arena, &rng, SHAPE(channels, 2, 3, 3));
        } else {
            x.dim[1] = channels;
            c.in[1] = sample_leaf(arena, &rng, SHAPE(channels), 1);
            c.norm = norm_of(arena, channels, true);
        }
        bool pooled = head == batchnorm && trial / 2 & 4; /* in whose sums less is added */
        c.in[0] = (pooled ? balanced : integers)(arena, &rng, x);
        c.in[2] = integers(arena, &rng, SHAPE(channels));
        Shape value = head == conv ? window_shape(&c.window, &x, channels) : x;
        random_tail(arena, &rng, &c, &value, trial / 2);
        bool given[INPUTS] = {trial & 16, true, true, trial & 32};
        compare(arena, &c, whole_of_head, parts_of_head, given);
    }
    arena_free(arena);
}

/* Two batchnorms behind a convolution, then rounding. The whole hands gradients over by planes and
 * lets the convolution take the moments; in the parts a reshape, which does neither, lies between.
 */
static Tensor *twice_normalised(Tape *tape, const Case *c, bool whole) {
    Tensor *y = op_conv_tail(tape, c->in[0], c->in[1], c->in[2], &(ConvSpec){c->window, 1},
                             &(Tail){.moments = whole});
    size_t channels = c->in[1]->count / (size_t)(2 * 3 * 3);
    Tensor *ones = tensor_zeros(tape->arena, SHAPE((int)channels));
    for (size_t k = 0; k < channels; k++) ones->data[k] = 1;
    Tensor *other = c->tail.pool ? op_maxpool(tape, y, &c->pool) : NULL; /* a second reader */
    for (int k = 0; k < 2; k++) {
        if (!whole) y = op_reshape(tape, y, y->shape);
        y = op_batchnorm(tape, y, ones, c->in[2], &c->norm);
    }
    if (!whole) y = op_reshape(tape, y, y->shape);
    y = op_fakequant_joined(tape, y, &c->q, STE_CODE, c->tail.relu, &c->pool);
    return other ? op_add(tape, y, other) : y;
}

static Tensor *by_planes(Tape *tape, const Case *c) {
    return twice_normalised(tape, c, true);
}
static Tensor *by_values(Tape *tape, const Case *c) {
    return twice_normalised(tape, c, false);
}

static void deferred_gradients(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Rng rng = rng_stream(6, RNG_TEST, 0);
    for (int trial = 0; trial < 60; trial++) {
        arena_reset(arena);
        float scale = 0.3f;
        int32_t zero = trial % 3;
        Case c = {.window = window_identity(), .q = {1, &scale, &zero, 0, 9}};
        int channels = random_between(&rng, 1, 30);
        c.window.kernel[1] = c.window.kernel[2] = 3;
        Shape x = SHAPE(random_between(&rng, 1, 20), 2, random_between(&rng, 4, 20),
                        random_between(&rng, 4, 20));
        c.in[0] = integers(arena, &rng, x);
        c.in[1] = integers(arena, &rng, SHAPE(channels, 2, 3, 3));
        c.in[2] = integers(arena, &rng, SHAPE(channels));
        c.norm = norm_of(arena, channels, true);
        Shape value = window_shape(&c.window, &x, channels);
        c.pool = random_pool(&rng, &value);
        c.tail.relu = trial & 1;
        if (trial & 2) c.tail.pool = &c.pool;
        bool given[INPUTS] = {trial & 4, true, true};
        compare(arena, &c, by_planes, by_values, given);
    }
    arena_free(arena);
}

/* The value of a convolution or a batchnorm added to what it was made of: one tensor is two inputs
 * of one op. */
static Tensor *own_addend(Tape *tape, const Case *c, bool whole) {
    Case own = *c;
    own.in[0] = own.tail.addend =
        op_conv(tape, c->in[0], c->in[1], NULL, &(ConvSpec){c->window, 1});
    if (head == batchnorm) own.in[1] = c->in[2]; /* gamma, as beta */
    return whole ? whole_of_head(tape, &own) : parts_of_head(tape, &own);
}

static Tensor *own_addend_whole(Tape *tape, const Case *c) {
    return own_addend(tape, c, true);
}
static Tensor *own_addend_parts(Tape *tape, const Case *c) {
    return own_addend(tape, c, false);
}

static void adding_what_it_was_made_of(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Rng rng = rng_stream(7, RNG_TEST, 0);
    for (int trial = 0; trial < 10; trial++) {
        arena_reset(arena);
        Case c = {.window = window_identity(), .tail.relu = trial & 1};
        head = trial & 2 ? conv : batchnorm;
        c.window.kernel[1] = c.window.kernel[2] = 3;
        c.window.padding[1] = c.window.padding[2] = 1;
        c.in[0] = integers(arena, &rng, SHAPE(3, 5, 6, 7));
        c.in[1] = integers(arena, &rng, SHAPE(5, 5, 3, 3));
        c.in[2] = integers(arena, &rng, SHAPE(5));
        c.norm = norm_of(arena, 5, true);
        bool given[INPUTS] = {false, true, true};
        compare(arena, &c, own_addend_whole, own_addend_parts, given);
    }
    arena_free(arena);
}

/* A batchnorm whose values the convolution behind it makes, sample by sample, or reads. */
static Tensor *normalised_convolved(Tape *tape, const Case *c, bool later) {
    Tail tail = {.relu = c->tail.relu, .later = later};
    Tensor *y = op_batchnorm_tail(tape, c->in[0], c->in[1], c->in[2], &c->norm, &tail);
    assert_true(!y->values == !later && !y->data == later);
    ConvSpec spec = {c->window, y->shape.dim[1] / c->in[3]->shape.dim[1]};
    return op_conv(tape, y, c->in[3], NULL, &spec);
}

static Tensor *values_later(Tape *tape, const Case *c) {
    return normalised_convolved(tape, c, true);
}
static Tensor *values_at_once(Tape *tape, const Case *c) {
    return normalised_convolved(tape, c, false);
}

/* By each method: few channels go by lines, many by Winograd's transforms unless there is a stride.
 */
static void deferred_values(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Rng rng = rng_stream(8, RNG_TEST, 0);
    for (int trial = 0; trial < 60; trial++) {
        arena_reset(arena);
        static const int channels[] = {2, 6, 24};
        int C = channels[trial % 3], groups = trial & 8 ? 2 : 1;
        Case c = {.window = window_identity(), .tail.relu = trial & 1};
        for (int d = 1; d < SPATIAL; d++) {
            c.window.kernel[d] = 3;
            c.window.stride[d] = random_between(&rng, 1, 1 + (trial & 1));
            c.window.padding[d] = random_between(&rng, 0, 1);
        }
        c.in[0] = sample_leaf(arena, &rng,
                              SHAPE(random_between(&rng, 1, 20), C, random_between(&rng, 3, 20),
                                    random_between(&rng, 3, 20)),
                              1);
        for (int k = 1; k < 3; k++) c.in[k] = sample_leaf(arena, &rng, SHAPE(C), 1);
        c.in[3] = sample_leaf(arena, &rng, SHAPE(C, C / groups, 3, 3), 1);
        c.norm = norm_of(arena, C, trial & 2);
        for (int k = 0; k < C; k++) c.norm.var[k] = 1;
        bool given[INPUTS] = {trial & 4, true, true, true};
        compare(arena, &c, values_later, values_at_once, given);
    }
    arena_free(arena);
}

/* How many values a step of the net leaves to their readers. */
static int values_left(const char *net) {
    Error error = {0};
    Graph *graph = graph_parse(net, strlen(net), "net", &error);
    assert_non_null(graph);
    graph_init(graph, 0);
    Tape *tape = tape_new(true);
    Tensor *x = tensor_zeros(tape->arena, SHAPE(2, 2, 8, 8));
    graph_forward(graph, &(Run){.tape = tape, .training = true, .error = &error}, x, NULL);
    int left = 0;
    for (const Entry *e = tape->entries; e < tape->entries + tape->count; e++)
        left += e->out->values != NULL;
    tape_free(tape);
    graph_free(graph);
    return left;
}

#define HEAD                                                                                       \
    "x = input shape=2x8x8\n"                                                                      \
    "c = conv2d x out=4 kernel=3\n"                                                                \
    "b = batchnorm c\n"
static void nets_leave_values_to_convolutions(void **state) {
    (void)state;
    assert_int_equal(values_left(HEAD "r = relu b\nd = conv2d r out=3 kernel=3\n"), 1);
    assert_int_equal(values_left(HEAD "d = conv2d b out=3 kernel=3\n"), 1);
    assert_int_equal(values_left(HEAD "p = maxpool b kernel=2\nd = conv2d p out=3 kernel=3\n"), 0);
    assert_int_equal(values_left(HEAD "d = conv2d b out=3 kernel=3\ne = conv2d b out=3 kernel=3\n"
                                      "a = add d e\n"),
                     0);
}

static Tensor *joined(Tape *tape, const Case *c) {
    return op_fakequant_joined(tape, c->in[0], &c->q, STE_CODE, c->tail.relu, &c->pool);
}
/* Equal codes in a window: the pool comes first, unless -infinity is to be cut, or rounded. */
static Tensor *one_by_one(Tape *tape, const Case *c) {
    bool first = !window_padded(&c->pool);
    Tensor *x = first ? op_maxpool(tape, c->in[0], &c->pool) : c->in[0];
    if (c->tail.relu) x = op_relu(tape, x);
    x = op_fakequant(tape, x, &c->q, STE_CODE);
    return first ? x : op_maxpool(tape, x, &c->pool);
}
/* The values are those of the pool behind the rounding in any case. */
static void check_values(const Case *c) {
    Tape *tape = tape_new(true);
    Tensor *y = joined(tape, c), *x = c->tail.relu ? op_relu(tape, c->in[0]) : c->in[0];
    Tensor *z = op_maxpool(tape, op_fakequant(tape, x, &c->q, STE_CODE), &c->pool);
    assert_same("value", y->data, z->data, z->count);
    tape_free(tape);
}

static void rounding_joined(void **state) {
    (void)state;
    Arena *arena = arena_new();
    Rng rng = rng_stream(5, RNG_TEST, 0);
    for (int trial = 0; trial < 100; trial++) {
        arena_reset(arena);
        float scale = 0.3f;
        int32_t zero = trial % 3;
        Case c = {.q = {1, &scale, &zero, 0, 9}, .tail.relu = trial & 1};
        Shape x = SHAPE(random_between(&rng, 1, 10), 3, random_between(&rng, 2, 20),
                        random_between(&rng, 2, 20));
        c.in[0] = sample_leaf(arena, &rng, x, 2);
        c.pool = random_pool(&rng, &x);
        bool given[INPUTS] = {trial & 2};
        compare(arena, &c, joined, one_by_one, given);
        check_values(&c);
    }
    arena_free(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ops_with_tails),
        cmocka_unit_test(deferred_gradients),
        cmocka_unit_test(deferred_values),
        cmocka_unit_test(nets_leave_values_to_convolutions),
        cmocka_unit_test(adding_what_it_was_made_of),
        cmocka_unit_test(rounding_joined),
    };
    return cmocka_run_group_tests(tests, NULL, stop_pool);
}
