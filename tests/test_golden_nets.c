/* Whole nets against PyTorch: what they compute, their gradients and what three steps of SGD make
 * of them. tests/golden/make_nets.py explains the parts of tests/golden/nets.safetensors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "autograd/ops.h"
#include "nn/safetensors.h"
#include "nn/zoo.h"
#include "train/parameters.h"

/* The file's numbers were computed in double, so the difference is float32's rounding alone, of the
 * order of 2^-24 = 6e-8 an operation: relative to the largest element of a sketch it grows to 1e-6
 * through sums of up to 784 products, ten layers, batch normalisation of three images and three
 * steps. Ten times that leaves room for a BLAS that adds in another order, and still shows a
 * missing weight decay (1.5e-4). The absolute part is for what is zero but for noise (2e-7): the
 * gradient of a bias before batch normalisation. */
static const double RELATIVE = 1e-5, ABSOLUTE = 1e-6;

enum { BATCH = 3, STEPS = 3, ELEMENTS = 31, CLASSES = 10 };

static const char odd_net[] =
    "x     = input shape=4x13x11\n"
    "conv1 = conv2d x out=6 kernel=3x2 stride=2x1 padding=1x0 groups=2 bias=false\n"
    "bn1   = batchnorm conv1 eps=0.001 momentum=0.3\n"
    "relu1 = relu bn1\n"
    "depth = conv2d relu1 out=12 kernel=3 padding=2 dilation=2 groups=6\n"
    "relu2 = relu depth\n"
    "pool1 = maxpool relu2 kernel=3 stride=2 padding=1\n"
    "left  = conv2d pool1 out=12 kernel=1\n"
    "right = conv2d pool1 out=12 kernel=3 padding=1 groups=4\n"
    "pool2 = avgpool right kernel=3 stride=1 padding=1\n"
    "add1  = add left pool2\n"
    "add2  = add add1 pool1\n"
    "relu3 = relu add2\n"
    "flat  = flatten relu3\n"
    "fc    = linear flat out=10\n";

static const char sequences_net[] =
    "x     = input shape=1x7x5\n"
    "rows  = reshape x shape=7x5\n"
    "gru   = gru rows hidden=4 layers=2 bidirectional=true\n"
    "lstm1 = lstm gru hidden=3 bidirectional=true bias=false\n"
    "lstm2 = lstm lstm1 hidden=5 layers=2 bidirectional=true output=last\n"
    "gru2  = gru lstm1 hidden=3 output=last\n"
    "ends  = concat lstm2 gru2\n"
    "fc    = linear ends out=10\n";

typedef struct Golden {
    const SafeFile *file;
    Arena *arena;
    const char *name;
    int salt;
    Graph *graph;
    Tape *tape;
    int compared; /* parts of the file */
} Golden;

/* ---- numbers from names ---- */

/* x[count]: multiples of 2^-23 in [-1, 1), MurmurHash3's finalizer of crc32("SALT NAME") + index.
 */
static void fill_uniform(const Golden *g, const char *name, float *x, size_t count) {
    const char *key = arena_text(g->arena, "%d %s", g->salt, name);
    uint32_t first = (uint32_t)crc32_z(0, (const Bytef *)key, strlen(key));
    for (size_t i = 0; i < count; i++) {
        uint32_t h = first + (uint32_t)i;
        h = (h ^ h >> 16) * 0x85ebca6b;
        h = (h ^ h >> 13) * 0xc2b2ae35;
        h ^= h >> 16;
        x[i] = ldexpf((float)(h >> 8), -23) - 1;
    }
}

static void fill_param(const Golden *g, const char *node, const Param *param) {
    Tensor *t = param->tensor;
    if (param->counter) return; /* 0 */
    fill_uniform(g, arena_text(g->arena, "%s.%s", node, param->name), t->data, t->count);
    bool weight = strcmp(param->name, "weight") == 0;
    float factor = 0.25f, plus = 0;
    if (weight && t->shape.rank > 1) {
        size_t fan_in = t->count / (size_t)t->shape.dim[0];
        for (factor = 1; factor * factor * (float)fan_in > 6;) factor /= 2;
    } else if (weight || strcmp(param->name, "running_var") == 0) {
        factor = 0.5f, plus = 1;
    }
    for (size_t i = 0; i < t->count; i++) t->data[i] = plus + factor * t->data[i];
}

static Tensor *images(const Golden *g, int step, int labels[BATCH]) {
    Tensor *x = tape_tensor(g->tape, shape_batched(&g->graph->node[0].shape, BATCH));
    fill_uniform(g, arena_text(g->arena, "input%d", step), x->data, x->count);
    for (int i = 0; i < BATCH; i++) labels[i] = (7 * i + step) % CLASSES;
    return x;
}

/* ---- comparing ---- */

static void compare(Golden *g, const char *part, const float *got, size_t count) {
    const SafeTensor *stored =
        safetensors_find(g->file, arena_text(g->arena, "%s/%s", g->name, part));
    if (!stored) fail_msg("%s/%s is not in the file", g->name, part);
    g->compared++;
    assert_int_equal(stored->bytes, count * sizeof(float));
    float *want = arena_alloc(g->arena, stored->bytes);
    memcpy(want, stored->data, stored->bytes);
    double largest = 0;
    for (size_t i = 0; i < count; i++) largest = fmax(largest, fabs((double)want[i]));
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)got[i] - (double)want[i]) <= ABSOLUTE + RELATIVE * largest))
            fail_msg("%s/%s[%zu] is %.9g, PyTorch says %.9g", g->name, part, i, (double)got[i],
                     (double)want[i]);
}

/* Compares the sketch of x, which belongs to the parameter NODE.PARAM: elements evenly spread, and
 * their sum with signs. */
static void compare_sketch(Golden *g, const char *part, const char *param, const float *x,
                           size_t count) {
    size_t spread = count < ELEMENTS ? count : ELEMENTS;
    float sketch[ELEMENTS + 1];
    for (size_t k = 0; k < spread; k++)
        sketch[k] = x[spread > 1 ? k * (count - 1) / (spread - 1) : 0];
    float *sign = arena_alloc(g->arena, count * sizeof *sign);
    fill_uniform(g, param, sign, count);
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)(sign[i] < 0 ? -x[i] : x[i]);
    sketch[spread] = (float)(sum / sqrt((double)count));
    compare(g, arena_text(g->arena, "%s/%s", part, param), sketch, spread + 1);
}

typedef enum What { GRADIENTS, BUFFERS, EVERYTHING } What;

static void compare_params(Golden *g, const char *part, What what) {
    for (int i = 0; i < g->graph->nodes; i++) {
        const Node *node = &g->graph->node[i];
        for (int k = 0; k < node->params; k++) {
            const Param *p = &node->param[k];
            if ((what == GRADIENTS && !p->trainable) || (what == BUFFERS && p->trainable)) continue;
            compare_sketch(g, part, arena_text(g->arena, "%s.%s", node->name, p->name),
                           what == GRADIENTS ? p->tensor->grad : p->tensor->data, p->tensor->count);
        }
    }
}

/* ---- the nets ---- */

static void open_net(Golden *g) {
    const ZooNet *net = zoo_find(g->name);
    const char *text = net ? net->text : strcmp(g->name, "odd") == 0 ? odd_net : sequences_net;
    Error error = {0};
    g->graph = graph_parse(text, strlen(text), g->name, &error);
    if (!g->graph) fail_msg("%s", error.message);
    for (int i = 0; i < g->graph->nodes; i++)
        for (int k = 0; k < g->graph->node[i].params; k++)
            fill_param(g, g->graph->node[i].name, &g->graph->node[i].param[k]);
}

static void close_net(Golden *g) {
    tape_free(g->tape);
    graph_free(g->graph);
}

static void check_logits(Golden *g) {
    open_net(g);
    g->tape = tape_new(false);
    int labels[BATCH];
    Tensor *x = images(g, 0, labels);
    Tensor *y = graph_forward(g->graph, &(Run){.tape = g->tape}, x, NULL);
    compare(g, "logits", y->data, y->count);
    close_net(g);
}

static void check_training(Golden *g, const char *method, bool nesterov) {
    open_net(g);
    g->tape = tape_new(true);
    OptimizerSpec spec = {optimizer_rule("sgd"), .momentum = 0.9, .weight_decay = 5e-4,
                          .nesterov = nesterov};
    Optimizer *optimizer = train_optimizer(g->graph, &spec, g->arena);
    for (int step = 0; step < STEPS; step++) {
        tape_reset(g->tape);
        int labels[BATCH];
        Tensor *x = images(g, step, labels);
        Tensor *y = graph_forward(g->graph, &(Run){.tape = g->tape, .training = true}, x, NULL);
        Tensor *loss = op_cross_entropy(g->tape, y, labels);
        tape_backward(g->tape, loss);
        if (step == 0 && !nesterov) {
            compare(g, "loss", loss->data, loss->count);
            compare_params(g, "grad", GRADIENTS);
        }
        optimizer_step(optimizer, 0.05);
        optimizer_clear(optimizer);
        if (step == 0 && !nesterov) compare_params(g, "step1", BUFFERS);
    }
    compare_params(g, method, EVERYTHING);
    close_net(g);
}

/* Every part of the file has been compared: the graph has all of PyTorch's parameters. */
static void check_parts(const Golden *g) {
    int parts = 0;
    size_t length = strlen(g->name);
    for (int i = 0; i < g->file->count; i++) {
        const char *name = g->file->tensor[i].name;
        parts += strncmp(name, g->name, length) == 0 && name[length] == '/';
    }
    assert_int_equal(g->compared, parts - 1); /* all but the salt */
}

static void learns_as_pytorch(void **state) {
    Golden *g = *state;
    const SafeTensor *salt = safetensors_find(g->file, arena_text(g->arena, "%s/salt", g->name));
    assert_non_null(salt);
    assert_int_equal(salt->dtype, DTYPE_I64);
    int64_t value;
    memcpy(&value, salt->data, sizeof value);
    g->salt = (int)value;
    check_logits(g);
    check_training(g, "heavy", false);
    check_training(g, "nesterov", true);
    check_parts(g);
}

static void every_zoo_net_is_here(void **state) {
    const Golden *g = *state;
    for (const ZooNet *net = zoo_list; net->name; net++)
        if (!safetensors_find(g->file, arena_text(g->arena, "%s/logits", net->name)))
            fail_msg("%s has no results from PyTorch", net->name);
}

int main(void) {
    Arena *arena = arena_new();
    Error error = {0};
    const SafeFile *file = safetensors_read(arena, "tests/golden/nets.safetensors", &error);
    if (!file) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    static const char *const names[] = {"mlp", "lenet5", "netbn",    "resnet8",
                                        "odd", "lstm",   "sequences"};
    enum { NETS = sizeof names / sizeof *names };
    Golden net[NETS];
    struct CMUnitTest tests[NETS + 1];
    for (int i = 0; i < NETS; i++) {
        net[i] = (Golden){.file = file, .arena = arena, .name = names[i]};
        tests[i] = (struct CMUnitTest){names[i], learns_as_pytorch, NULL, NULL, &net[i]};
    }
    tests[NETS] = (struct CMUnitTest){"every zoo net", every_zoo_net_is_here, NULL, NULL, &net[0]};
    int failures = _cmocka_run_group_tests("golden nets", tests, NETS + 1, NULL, NULL);
    arena_free(arena);
    return failures;
}
