/* Dynamic quantization against its definition, written here once more as plain loops over whole
 * numbers: bit for bit, with either engine, in any batch and on any number of threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <string.h>

#include "nn/layers/recurrent.h"
#include "quant/compare.h"
#include "tests/reference.h"
#include "tests/scratch.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
enum { SAMPLES = 21, MOST = 2048 /* sums or values of a row */ };

static const char *const nets[] = {
    "x = input shape=1x5x4\nf = flatten x\na = linear f out=9\nr = relu a\n"
    "b = linear r out=3 bias=false\n",
    "x = input shape=1x6x5\ns = reshape x shape=6x5\n"
    "l = lstm s hidden=7 layers=2 bidirectional=true output=last\nb = linear l out=3\n",
    "x = input shape=1x6x5\ns = reshape x shape=6x5\n"
    "g = gru s hidden=4 bidirectional=true bias=false\nl = lstm g hidden=3\nf = flatten l\n"
    "b = linear f out=3\n",
    "x = input shape=1x5x6\ns = reshape x shape=5x6\ng = gru s hidden=33 layers=3 output=last\n",
    "x = input shape=1x5x6\ns = reshape x shape=5x6\ng = gru s hidden=7 reset=before\n"
    "h = gru g hidden=9 bidirectional=true output=last reset=before\n",
    "x = input shape=2x6x6\nc = conv2d x out=4 kernel=3\nn = batchnorm c\nr = relu n\n"
    "f = flatten r\nb = linear f out=5\n",
    "x = input shape=1x40x40\nf = flatten x\nb = linear f out=5\n", /* sums beyond 2^24 */
};

/* --- the definition --- */

/* The scale of row o of a matrix: symmetric codes, largest 127. */
static double matrix_scale(const Tensor *w, int o, bool per_channel) {
    size_t depth = (size_t)w->shape.dim[1];
    double most = 0;
    for (size_t i = 0; i < w->count; i++)
        if (!per_channel || i / depth == (size_t)o) most = fmax(most, fabs((double)w->data[i]));
    return most == 0 ? 1 : fmax(most / 127, (double)FLT_MIN);
}

/* y[outputs] = x[depth] w' + b with integers. */
static void naive_product(Product p, bool per_channel, const float *x, float *y) {
    int outputs = p.w->shape.dim[0], depth = p.w->shape.dim[1];
    double lo = 0, hi = 0;
    for (int k = 0; k < depth; k++) {
        lo = fmin(lo, (double)x[k]);
        hi = fmax(hi, (double)x[k]);
    }
    double range = lo == hi ? 1 : fmax((hi - lo) / 255, (double)FLT_MIN);
    float row_scale = (float)range;
    long long zero = lo == hi ? 0 : llrint(fmin(fmax(-lo / range, 0), 255));
    for (int o = 0; o < outputs; o++) {
        float scale = (float)matrix_scale(p.w, o, per_channel);
        long long sum = 0;
        for (int k = 0; k < depth; k++) {
            long long q_x = llrintf(x[k] / row_scale) + zero;
            long long q_w = llrintf(p.w->data[o * depth + k] / scale);
            q_x = q_x < 0 ? 0 : q_x > 255 ? 255 : q_x;
            q_w = q_w < -127 ? -127 : q_w > 127 ? 127 : q_w;
            sum += (q_x - zero) * q_w;
        }
        y[o] = (p.b ? p.b->data[o] : 0) + row_scale * scale * (float)sum;
    }
}

static float sigmoid(float x) {
    return (float)(1 / (1 + exp(-(double)x)));
}
static float tangent(float x) {
    return (float)tanh((double)x);
}

/* One sample's steps of one layer and direction: x[steps][features], y[steps] rows `width` apart;
 * h ends as the last state. */
static void naive_direction(Product in, Product re, bool per_channel, const Node *node,
                            bool reverse, int steps, const float *x, float *y, int width,
                            float *h) {
    int hidden = re.w->shape.dim[1], features = in.w->shape.dim[1];
    bool lstm = strcmp(node->layer->name, "lstm") == 0;
    bool before = !lstm && ((const RecurrentLayerSpec *)node->spec)->reset == RESET_BEFORE;
    float a[MOST], b[MOST], c[MOST] = {0}, reset[MOST], of_reset[MOST];
    memset(h, 0, sizeof *h * (size_t)hidden);
    for (int s = 0; s < steps; s++) {
        int t = reverse ? steps - 1 - s : s;
        naive_product(in, per_channel, x + t * features, a);
        naive_product(re, per_channel, h, b);
        for (int k = 0; before && k < hidden; k++) reset[k] = sigmoid(a[k] + b[k]) * h[k];
        if (before) naive_product(re, per_channel, reset, of_reset);
        for (int k = 0; k < hidden; k++) {
            if (lstm) { /* i f g o */
                float i = sigmoid(a[k] + b[k]), f = sigmoid(a[hidden + k] + b[hidden + k]);
                float g = tangent(a[2 * hidden + k] + b[2 * hidden + k]);
                float o = sigmoid(a[3 * hidden + k] + b[3 * hidden + k]);
                c[k] = f * c[k] + i * g;
                h[k] = o * tangent(c[k]);
            } else { /* r z n */
                float r = sigmoid(a[k] + b[k]), z = sigmoid(a[hidden + k] + b[hidden + k]);
                float m = before ? of_reset[2 * hidden + k] : r * b[2 * hidden + k];
                float n = tangent(a[2 * hidden + k] + m);
                h[k] = (1 - z) * n + z * h[k];
            }
        }
        memcpy(y + t * width, h, sizeof *h * (size_t)hidden);
    }
}

static Product named(const Node *node, const char *part, int layer, const char *direction) {
    char weight[64], bias[64];
    snprintf(weight, sizeof weight, "weight_%s_l%d%s", part, layer, direction);
    snprintf(bias, sizeof bias, "bias_%s_l%d%s", part, layer, direction);
    return node_product(node, weight, bias);
}

static void naive_recurrent(const Node *node, bool per_channel, const Tensor *x, Tensor *y) {
    const RecurrentLayerSpec *spec = node->spec;
    int steps = x->shape.dim[1], directions = 1 + spec->bidirectional;
    int width = directions * spec->hidden;
    for (int n = 0; n < SAMPLES; n++) {
        float from[MOST], to[MOST], end[MOST];
        size_t count = x->count / SAMPLES;
        memcpy(from, x->data + (size_t)n * count, sizeof *from * count);
        for (int layer = 0; layer < spec->layers; layer++) {
            for (int d = 0; d < directions; d++)
                naive_direction(named(node, "ih", layer, d ? "_reverse" : ""),
                                named(node, "hh", layer, d ? "_reverse" : ""), per_channel, node, d,
                                steps, from, to + d * spec->hidden, width, end + d * spec->hidden);
            memcpy(from, to, sizeof from);
        }
        count = y->count / SAMPLES;
        memcpy(y->data + (size_t)n * count, node->shape.rank == 1 ? end : to, sizeof *to * count);
    }
}

/* The node's result by the definition; layers that stay float by their own forward. */
static Tensor *naive(const Run *run, const Node *node, bool per_channel, Tensor *const in[]) {
    if (!node->params || !node->param[0].matrix) return node->layer->forward(run, node, in);
    Tensor *y = tape_tensor(run->tape, shape_batched(&node->shape, SAMPLES));
    if (in[0]->shape.rank == 3) {
        naive_recurrent(node, per_channel, in[0], y);
        return y;
    }
    for (int n = 0; n < SAMPLES; n++)
        naive_product(node_product(node, "weight", "bias"), per_channel,
                      in[0]->data + n * in[0]->shape.dim[1], y->data + n * node->shape.dim[0]);
    return y;
}

/* --- what it is tried on --- */

/* Weights of very different channels, some of zeros. */
static Graph *random_graph(const char *text, Rng *rng) {
    static const float sizes[] = {1, 1, 0.1f, 4, 0, 1e-40f};
    Graph *graph = graph_parse(text, strlen(text), "net", NULL);
    assert_non_null(graph);
    graph_init(graph, rng_next(rng));
    for (int i = 0; i < graph->nodes; i++)
        for (int k = 0; k < graph->node[i].params; k++) {
            const Param *p = &graph->node[i].param[k];
            for (size_t j = 0; p->matrix && j < p->tensor->count; j++)
                if (j % (size_t)p->tensor->shape.dim[1] == 0 && rng_below(rng, 2)) {
                    float size = sizes[rng_below(rng, COUNT(sizes))];
                    for (int c = 0; c < p->tensor->shape.dim[1]; c++)
                        p->tensor->data[j + (size_t)c] *= size;
                }
        }
    return graph;
}

/* Samples of both signs, of one sign, all zero, all alike, tiny, and huge. */
static Tensor *random_input(const Graph *graph, Rng *rng, Tape *tape) {
    static const float sizes[] = {1, 1e-3f, 1e-42f, 1e4f}, shifts[] = {0, 0, 3, -3};
    Tensor *x = tape_tensor(tape, shape_batched(&graph->node[0].shape, SAMPLES));
    size_t count = x->count / SAMPLES;
    for (size_t i = 0; i < x->count; i++) {
        size_t n = i / count;
        float v = sizes[n % 4] * (rng_normal(rng) + shifts[n / 4 % 4]);
        x->data[i] = n == 5 ? 0 : n == 10 ? -1.5f : n == 11 ? 1e4f : v;
    }
    return x;
}

typedef struct Trial {
    Graph *graph;
    Dynamic *dynamic;
    Tape *tape;
    Tensor *x;
} Trial;

static Trial start(const char *text, uint64_t seed, bool per_channel) {
    Rng rng = rng_stream(seed, RNG_TEST, 0);
    Error error = {0};
    Trial t = {.graph = random_graph(text, &rng), .tape = tape_new(false)};
    t.x = random_input(t.graph, &rng, t.tape);
    t.dynamic = dynamic_new(t.graph, per_channel, &error);
    if (!t.dynamic || !dynamic_quantize(t.dynamic, &error) || !dynamic_complete(t.dynamic, &error))
        fail_msg("%s", error.message);
    return t;
}

static void end(Trial *t) {
    dynamic_free(t->dynamic);
    graph_free(t->graph);
    tape_free(t->tape);
}

static const Tensor *run(const Trial *t, Tensor *x) {
    Error error = {0};
    const Tensor *y = graph_forward(t->graph, &(Run){.tape = t->tape, .error = &error}, x, NULL);
    assert_int_equal(error.code, ERROR_NONE);
    return y;
}

/* --- tests --- */

static void equals_its_definition(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(nets); i++)
        for (uint64_t seed = 0; seed < 4; seed++) {
            bool per_channel = seed != 3;
            Trial t = start(nets[i], seed, per_channel);
            Run definition = {.tape = t.tape};
            Tensor *value[GRAPH_MAX_NODES];
            for (int n = 0; n < t.graph->nodes; n++) {
                Node *node = &t.graph->node[n];
                Tensor *in[] = {n ? value[node->in[0]] : t.x};
                value[n] = naive(&definition, node, per_channel, in);
            }
            const Tensor *wanted = value[t.graph->nodes - 1];
            dynamic_integers(t.dynamic);
            assert_same(nets[i], run(&t, t.x)->data, wanted->data, wanted->count);
            dynamic_simulate(t.dynamic);
            assert_same(nets[i], run(&t, t.x)->data, wanted->data, wanted->count);
            end(&t);
        }
}

static void depends_on_no_batch_and_no_thread(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(nets); i++) {
        Trial t = start(nets[i], 7, true);
        dynamic_integers(t.dynamic);
        restart_pool(1);
        const Tensor *all = run(&t, t.x);
        restart_pool(3);
        assert_same(nets[i], run(&t, t.x)->data, all->data, all->count);
        size_t inputs = t.x->count / SAMPLES, outputs = all->count / SAMPLES;
        for (int n = 0; n < SAMPLES; n++) {
            Tensor *one = tensor_copy(t.tape->arena, shape_batched(&t.graph->node[0].shape, 1),
                                      t.x->data + (size_t)n * inputs);
            assert_same(nets[i], run(&t, one)->data, all->data + (size_t)n * outputs, outputs);
        }
        end(&t);
    }
}

static void comparing_finds_what_differs(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(nets); i++) {
        Trial t = start(nets[i], 5, true);
        Comparison c;
        Error error = {0};
        float *x = arena_alloc(t.graph->arena, sizeof *x * t.x->count);
        memcpy(x, t.x->data, sizeof *x * t.x->count);
        for (int wrong = 0; wrong < 2; wrong++) {
            compare_start_dynamic(&c, t.dynamic);
            assert_true(compare_dynamic(&c, t.dynamic, t.tape, SAMPLES, x, &error));
            ValueComparison total = compare_total(&c);
            int64_t codes = 0;
            for (int n = 0; n < t.graph->nodes; n++)
                codes += (int64_t)(SAMPLES * shape_count(&t.graph->node[n].shape));
            assert_true(total.codes == codes && c.images == SAMPLES);
            assert_true(wrong ? total.mismatched && total.max_difference
                              : !total.mismatched && !total.max_difference && !c.argmax_differs);
            DynamicMatrix *last = &t.dynamic->matrix[t.dynamic->matrices - 1];
            for (int k = 0; k < last->outputs * last->depth; k++) last->codes[k] += 1;
        }
        end(&t);
    }
}

/* Of both engines' sums the largest there are: 66,000 products of 255 and 127 fit, more do not. */
static void sums_are_proven(void **state) {
    (void)state;
    for (int fits = 0; fits < 2; fits++) {
        char text[128];
        snprintf(text, sizeof text, "x = input shape=1x%d\nf = flatten x\nfc = linear f out=2\n",
                 fits ? 66000 : 66400);
        Graph *graph = graph_parse(text, strlen(text), "net", NULL);
        Tensor *w = node_tensor(graph_output(graph), "weight");
        for (size_t i = 0; i < w->count; i++) w->data[i] = i < w->count / 2 ? 1 : -1;
        Error error = {0};
        Dynamic *d = dynamic_new(graph, true, &error);
        assert_true(dynamic_quantize(d, &error));
        assert_true(dynamic_complete(d, &error) == fits);
        if (!fits)
            assert_error(&error, ERROR_INPUT,
                         "fc.weight: the sum of output 0 can reach 2150364000");
        Tape *tape = tape_new(false);
        Tensor *x = tape_tensor(tape, shape_batched(&graph->node[0].shape, 1));
        for (size_t i = 0; i < x->count; i++) x->data[i] = 1;
        for (int simulated = 0; fits && simulated < 2; simulated++) {
            simulated ? dynamic_simulate(d) : dynamic_integers(d);
            const Tensor *y = graph_forward(graph, &(Run){.tape = tape}, x, NULL);
            float sum = (float)(66000LL * 255 * 127) * ((float)(1.0 / 255) * (float)(1.0 / 127));
            assert_true(y->data[0] == sum && y->data[1] == -sum);
        }
        tape_free(tape);
        dynamic_free(d);
        graph_free(graph);
    }
}

static void what_cannot_be_is_told(void **state) {
    (void)state;
    Error error = {0};
    const char *text = "x = input shape=1x4x4\nc = conv2d x out=2 kernel=3\n";
    Graph *graph = graph_parse(text, strlen(text), "convs", NULL);
    assert_null(dynamic_new(graph, true, &error));
    assert_error(&error, ERROR_INPUT, "convs has no layer for dynamic quantization");
    graph_free(graph);

    for (int i = 0; i < 2; i++) { /* NaN in an image, infinity among the first layer's values */
        Trial t = start(nets[1], 1, true);
        t.x->data[17] = i ? INFINITY : NAN;
        i ? dynamic_simulate(t.dynamic) : dynamic_integers(t.dynamic);
        error = (Error){0};
        graph_forward(t.graph, &(Run){.tape = t.tape, .error = &error}, t.x, NULL);
        assert_error(&error, ERROR_INPUT, "l: a value is NaN or infinite");
        node_tensor(&t.graph->node[2], "weight_hh_l1_reverse")->data[3] = NAN;
        error = (Error){0};
        assert_false(dynamic_quantize(t.dynamic, &error));
        assert_error(&error, ERROR_INPUT, "l.weight_hh_l1_reverse: a weight is NaN or infinite");
        end(&t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_its_definition),
        cmocka_unit_test(depends_on_no_batch_and_no_thread),
        cmocka_unit_test(comparing_finds_what_differs),
        cmocka_unit_test(sums_are_proven),
        cmocka_unit_test(what_cannot_be_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, stop_pool);
}
