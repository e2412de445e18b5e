/* onnx_backend FOLDER...: runs tests of ONNX's own test suite (model.onnx and test_data_set_0) and
 * prints a line for each: what came of it, its last operator, its name, why.
 *
 *   passed    the net gives the expected numbers
 *   refused   it was not read; the reason is the importer's
 *   wrong     it was read and gives other numbers
 *
 * A test's first input becomes the net's; further ones, such as weights, become initializers. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "autograd/file.h"
#include "quant/onnx/read.h"

enum { BYTES = 1 << 28, INPUTS = 16 };

typedef struct Case {
    Arena *arena;
    const char *folder;
    Onnx__ModelProto *model;
    int64_t opset;
} Case;

static Onnx__TensorProto *read_tensor(const Case *c, const char *kind, int number) {
    unsigned char *data;
    size_t size;
    const char *path = arena_text(c->arena, "%s/test_data_set_0/%s_%d.pb", c->folder, kind, number);
    if (!file_read(c->arena, path, BYTES, &data, &size, NULL)) return NULL;
    return onnx__tensor_proto__unpack(NULL, size, data);
}

/* The tensor as a constant, its size proved by hand: it is no part of a model. */
static const OnnxConstant *numbers(const Case *c, const Onnx__TensorProto *tensor) {
    Onnx__TensorProto *list[] = {(Onnx__TensorProto *)tensor};
    Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
    Onnx__ModelProto model = *c->model;
    graph.n_initializer = 1;
    graph.initializer = list;
    model.graph = &graph;
    int64_t opset;
    return tensor && onnx_check(&model, &opset, NULL) ? onnx_constant(tensor, c->arena) : NULL;
}

/* The declared shape of the input becomes that of the data; later inputs become initializers. */
static bool take_inputs(const Case *c, const OnnxConstant **x) {
    Onnx__GraphProto *graph = c->model->graph;
    Onnx__TensorProto **list =
        arena_alloc(c->arena, sizeof *list * (graph->n_initializer + graph->n_input + 1));
    if (graph->n_initializer) memcpy(list, graph->initializer, sizeof *list * graph->n_initializer);
    graph->initializer = list;
    int number = 0;
    for (size_t i = 0; i < graph->n_input; i++) {
        bool initialized = false;
        for (size_t k = 0; k < graph->n_initializer; k++)
            initialized |= strcmp(list[k]->name, graph->input[i]->name) == 0;
        if (initialized) continue;
        Onnx__TensorProto *tensor = read_tensor(c, "input", number);
        if (!tensor) return false;
        tensor->name = graph->input[i]->name;
        if (number++) {
            list[graph->n_initializer++] = tensor;
            continue;
        }
        *x = numbers(c, tensor);
        Onnx__TypeProto *type = graph->input[i]->type;
        if (!*x || !type || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) return false;
        Onnx__TensorShapeProto *shape = type->tensor_type->shape;
        if (!shape || shape->n_dim != tensor->n_dims) return false;
        for (size_t d = 0; d < shape->n_dim; d++) {
            shape->dim[d]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            shape->dim[d]->dim_value = tensor->dims[d];
        }
    }
    return number > 0;
}

/* The suite's own tolerance. */
static bool close_to(const float *have, const float *want, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(have[i] - want[i]) <= 1e-7f + 1e-3f * fabsf(want[i]))) return false;
    return true;
}

static const char *run(const Case *c, Error *error) {
    const OnnxConstant *x = NULL;
    if (!take_inputs(c, &x) || !x->f || !x->count) {
        error_set(error, ERROR_INPUT, "its inputs are no floats");
        return "refused";
    }
    OnnxReader reader;
    Graph *net = onnx_check(c->model, (int64_t *)&c->opset, error)
                     ? onnx_read_graph(&reader, c->model, c->opset, c->arena, error)
                     : NULL;
    if (!net) return "refused";
    const OnnxConstant *want = numbers(c, read_tensor(c, "output", 0));
    Tape *tape = tape_new(false);
    Tensor *y =
        graph_forward(net, &(Run){.tape = tape}, tensor_copy(tape->arena, x->shape, x->f), NULL);
    bool same = want && want->f && y->count == want->count && close_to(y->data, want->f, y->count);
    tape_free(tape);
    graph_free(net);
    return same ? "passed" : "wrong";
}

static void run_case(const char *folder) {
    Case c = {.arena = arena_new(), .folder = folder};
    Error error = {0};
    unsigned char *data;
    size_t size;
    const char *what = "refused", *op = "?";
    if (file_read(c.arena, arena_text(c.arena, "%s/model.onnx", folder), BYTES, &data, &size,
                  &error) &&
        (c.model = (Onnx__ModelProto *)onnx_parse(data, size, c.arena, &c.opset, &error))) {
        const Onnx__GraphProto *graph = c.model->graph;
        if (graph->n_node) op = graph->node[graph->n_node - 1]->op_type;
        what = run(&c, &error);
    }
    const char *slash = strrchr(folder, '/');
    for (char *l = error.message; *l; l++)
        if (*l == '\n') *l = ' ';
    printf("%s %s %s %s\n", what, op, slash ? slash + 1 : folder, error.message);
    arena_free(c.arena);
}

int main(int argc, char *argv[]) {
    for (int i = 1; i < argc; i++) run_case(argv[i]);
    return 0;
}
