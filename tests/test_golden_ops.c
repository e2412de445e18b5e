/* Every op against PyTorch: outputs and gradients of tests/golden/ops.safetensors, whose parts
 * tests/golden/make_ops.py explains. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "autograd/op.h"
#include "autograd/ops.h"
#include "nn/safetensors.h"

/* The file's numbers were computed in double, so the difference is our rounding alone: sums of up
 * to some 80 float32 products, each off by 2^-24 = 6e-8 of a partial sum of order 1 to 10, so at
 * worst 80 * 6e-8 = 5e-6 of it. What is seen is below 1e-6. */
static const double ABSOLUTE = 5e-6, RELATIVE = 5e-6;

enum { MOST_CASES = 256, NAME = 256, MOST_SPEC = 64 };

typedef struct Case {
    const SafeFile *file;
    Arena *arena;
    char name[NAME]; /* OP/CASE */
    Tape *tape;
    Tensor *in[OP_MAX_INPUTS];
    int spec[MOST_SPEC];
} Case;

static const SafeTensor *part(const Case *c, const char *name) {
    return safetensors_find(c->file, arena_text(c->arena, "%s/%s", c->name, name));
}

/* The named part as a tensor; NULL if the case has none. */
static Tensor *floats(const Case *c, const char *name) {
    const SafeTensor *stored = part(c, name);
    if (!stored) return NULL;
    assert_int_equal(stored->dtype, DTYPE_F32);
    Shape shape = {.rank = stored->rank};
    for (int i = 0; i < shape.rank; i++) shape.dim[i] = (int)stored->dim[i];
    Tensor *tensor = tensor_new(c->arena, shape);
    assert_int_equal(stored->bytes, tensor->count * sizeof(float));
    memcpy(tensor->data, stored->data, stored->bytes);
    return tensor;
}

static Tensor *needed(const Case *c, const char *name) {
    Tensor *tensor = floats(c, name);
    if (!tensor) fail_msg("%s has no %s", c->name, name);
    return tensor;
}

static void read_spec(Case *c) {
    const SafeTensor *stored = part(c, "spec");
    if (!stored) return;
    assert_int_equal(stored->dtype, DTYPE_I64);
    size_t count = stored->bytes / sizeof(int64_t);
    assert_true(count <= MOST_SPEC);
    for (size_t i = 0; i < count; i++) {
        int64_t value;
        memcpy(&value, (const char *)stored->data + i * sizeof value, sizeof value);
        c->spec[i] = (int)value;
    }
}

static void compare(const Case *c, const char *what, const Shape *shape, const float *got) {
    const Tensor *expected = needed(c, what);
    if (!shape_equal(shape, &expected->shape))
        fail_msg("%s: %s is %s, not %s", c->name, what, shape_text(shape, (char[SHAPE_TEXT]){0}),
                 shape_text(&expected->shape, (char[SHAPE_TEXT]){0}));
    for (size_t i = 0; i < expected->count; i++) {
        double want = (double)expected->data[i], difference = fabs((double)got[i] - want);
        if (!(difference <= ABSOLUTE + RELATIVE * fabs(want)))
            fail_msg("%s: %s[%zu] is %.9g, PyTorch says %.9g", c->name, what, i, (double)got[i],
                     want);
    }
}

/* ---- how each op is called ---- */

static Window window(const Case *c) {
    Window w = {.uneven = {0}};
    _Static_assert(offsetof(Window, uneven) == 4 * SPATIAL * sizeof(int),
                   "a window begins with the 12 numbers of a spec");
    memcpy(&w, c->spec, offsetof(Window, uneven));
    return w;
}

static Tensor *run_add(Case *c) {
    return op_add(c->tape, c->in[0], c->in[1]);
}
static Tensor *run_mul(Case *c) {
    return op_mul(c->tape, c->in[0], c->in[1]);
}
static Tensor *run_relu(Case *c) {
    return op_relu(c->tape, c->in[0]);
}
static Tensor *run_dropout(Case *c) {
    return op_dropout(c->tape, c->in[0], 0, 1, 1);
}
static Tensor *run_linear(Case *c) {
    return op_linear(c->tape, c->in[0], c->in[1], c->in[2]);
}
static Tensor *run_cross_entropy(Case *c) {
    return op_cross_entropy(c->tape, c->in[0], c->spec);
}
static Tensor *run_mse_loss(Case *c) {
    return op_mse_loss(c->tape, c->in[0], c->in[1]);
}

static Tensor *run_conv(Case *c) {
    ConvSpec spec = {window(c), c->spec[4 * SPATIAL]};
    return op_conv(c->tape, c->in[0], c->in[1], c->in[2], &spec);
}

static Tensor *run_conv_transpose(Case *c) {
    ConvTransposeSpec spec = {.window = window(c), .groups = c->spec[4 * SPATIAL]};
    memcpy(spec.output_padding, c->spec + 4 * SPATIAL + 1, sizeof spec.output_padding);
    return op_conv_transpose(c->tape, c->in[0], c->in[1], c->in[2], &spec);
}

static Tensor *run_maxpool(Case *c) {
    Window w = window(c);
    return op_maxpool(c->tape, c->in[0], &w);
}

static Tensor *run_avgpool(Case *c) {
    Window w = window(c);
    return op_avgpool(c->tape, c->in[0], &w, true);
}

static Tensor *run_reshape(Case *c) {
    Shape shape = {.rank = (int)part(c, "spec")->dim[0]};
    memcpy(shape.dim, c->spec, sizeof *c->spec * (size_t)shape.rank);
    return op_reshape(c->tape, c->in[0], shape);
}

static Tensor *run_view(Case *c) {
    View view = {.shape.rank = c->spec[0], .first = (size_t)c->spec[1]};
    for (int d = 0; d < view.shape.rank; d++) {
        view.shape.dim[d] = c->spec[2 + d];
        view.step[d] = (size_t)c->spec[2 + view.shape.rank + d];
    }
    return op_view(c->tape, c->in[0], &view);
}

static Tensor *run_pointwise(Case *c) {
    return op_pointwise(c->tape, c->in[0], pointwise_list[c->spec[0]], needed(c, "real")->data[0]);
}

static Tensor *run_concat(Case *c) {
    int inputs = 0;
    while (inputs < OP_MAX_INPUTS && c->in[inputs]) inputs++;
    return op_concat(c->tape, inputs, c->in);
}
static Tensor *run_recurrent(Case *c) {
    RecurrentSpec spec = {cell_list[c->spec[0]], c->spec[1] != 0, c->spec[2] != 0};
    return op_recurrent(c->tape, c->in[0], &(Product){c->in[1], c->in[3], NULL},
                        &(Product){c->in[2], c->in[4], NULL}, &spec);
}
static Tensor *run_softmax(Case *c) {
    return op_softmax(c->tape, c->in[0]);
}

static Tensor *run_batchnorm(Case *c) {
    const Tensor *mean = needed(c, "mean"), *var = needed(c, "var"), *real = needed(c, "real");
    BatchNormSpec spec = {mean->data, var->data, real->data[0], real->data[1], c->spec[0] != 0};
    Tensor *y = op_batchnorm(c->tape, c->in[0], c->in[1], c->in[2], &spec);
    compare(c, "mean_after", &mean->shape, mean->data);
    compare(c, "var_after", &var->shape, var->data);
    return y;
}

/* One line per op: an op of the list without its line here does not compile. */
static const struct {
    const char *name;
    Tensor *(*run)(Case *c);
} runs[] = {
#define OP(name) {#name, run_##name},
#include "autograd/ops.def"
#undef OP
};
enum { RUNS = sizeof runs / sizeof *runs };

/* ---- the cases ---- */

/* sum(weights * out), made of ops: a row of products times a row of ones. */
static Tensor *weighted_sum(const Case *c, Tensor *out) {
    Shape row = SHAPE(1, (int)out->count);
    Tensor *ones = tensor_new(c->arena, row);
    for (size_t i = 0; i < ones->count; i++) ones->data[i] = 1;
    Tensor *products = op_mul(c->tape, out, needed(c, "weights"));
    return op_linear(c->tape, op_reshape(c->tape, products, row), ones, NULL);
}

static void matches_pytorch(void **state) {
    Case *c = *state;
    int op = 0;
    size_t length = strcspn(c->name, "/");
    while (op < RUNS && (strlen(runs[op].name) != length || memcmp(runs[op].name, c->name, length)))
        op++;
    if (op == RUNS) fail_msg("%s: no such op", c->name);

    read_spec(c);
    for (int i = 0; i < OP_MAX_INPUTS; i++) {
        c->in[i] = floats(c, arena_text(c->arena, "in%d", i));
        if (c->in[i]) c->in[i]->needs_grad = true;
    }
    c->tape = tape_new(true);
    Tensor *out = runs[op].run(c);
    compare(c, "out", &out->shape, out->data);
    tape_backward(c->tape, weighted_sum(c, out));
    for (int i = 0; i < OP_MAX_INPUTS; i++)
        if (c->in[i])
            compare(c, arena_text(c->arena, "grad%d", i), &c->in[i]->shape, c->in[i]->grad);
    tape_free(c->tape);
}

static void every_op_has_cases(void **state) {
    const Case *c = *state;
    for (const Op *const *op = op_list; *op; op++) {
        size_t length = strlen((*op)->name);
        int found = 0;
        for (int i = 0; i < c->file->count; i++) {
            const char *name = c->file->tensor[i].name;
            found += !strncmp(name, (*op)->name, length) && name[length] == '/';
        }
        if (!found) fail_msg("%s has no case", (*op)->name);
    }
}

/* One test per case: each is found by its "out". */
static size_t list_cases(const SafeFile *file, Arena *arena, struct CMUnitTest tests[MOST_CASES]) {
    size_t count = 0;
    for (int i = 0; i < file->count; i++) {
        const char *name = file->tensor[i].name, *end = strrchr(name, '/');
        if (!end || strcmp(end, "/out") != 0) continue;
        CHECK(count < MOST_CASES && end - name < NAME, "case %zu: %s", count, name);
        Case *c = arena_zeros(arena, sizeof *c);
        c->file = file;
        c->arena = arena;
        memcpy(c->name, name, (size_t)(end - name));
        tests[count++] = (struct CMUnitTest){c->name, matches_pytorch, NULL, NULL, c};
    }
    return count;
}

int main(void) {
    Arena *arena = arena_new();
    Error error = {0};
    Case all = {.file = safetensors_read(arena, "tests/golden/ops.safetensors", &error)};
    if (!all.file) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    struct CMUnitTest tests[MOST_CASES + 1];
    size_t count = list_cases(all.file, arena, tests);
    tests[count++] =
        (struct CMUnitTest){"every op has cases", every_op_has_cases, NULL, NULL, &all};
    int failures = _cmocka_run_group_tests("golden ops", tests, count, NULL, NULL);
    arena_free(arena);
    return failures;
}
