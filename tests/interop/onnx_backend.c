/* onnx_backend FOLDER...: runs tests of ONNX's own test suite (model.onnx and test_data_set_0) and
 * prints a line for each: what came of it, its last operator, its name, why.
 *
 *   passed    the net gives the expected numbers
 *   refused   it was not read; the reason is the importer's
 *   wrong     it was read and gives other numbers
 *   foreign   it has an operator that is not read at all
 *
 * A test's first input becomes the net's; further ones, such as weights, become initializers. Of
 * several outputs the first is asked for, as `stair import --graph-output` does. The
 * values that Add, Sub, Mul, Div and Concat join become channels of one input, told apart by a
 * layer of ones and zeros for each: a net has one input. */
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

/* Is every operator read? */
static bool is_ours(const Onnx__GraphProto *graph) {
    for (size_t i = 0; i < graph->n_node; i++)
        if (!graph->node[i]->op_type || !onnx_reading(graph->node[i]->op_type)) return false;
    return true;
}

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

/* --- several values --- */

/* Elements of a channel of a sample. */
static size_t plane_of(const Shape *s) {
    size_t plane = 1;
    for (int d = 2; d < s->rank; d++) plane *= (size_t)s->dim[d];
    return plane;
}

/* All data of one batch and the same spatial sizes, as channels of one; NULL: they are not. */
static const OnnxConstant *joined(const Case *c, const OnnxConstant *const part[], int parts) {
    OnnxConstant *all = arena_zeros(c->arena, sizeof *all);
    all->shape = part[0]->shape;
    all->shape.dim[1] = 0;
    size_t plane = plane_of(&all->shape), samples = (size_t)all->shape.dim[0];
    for (int k = 0; k < parts; k++) {
        Shape shape = part[k]->shape;
        all->shape.dim[1] += shape.dim[1];
        shape.dim[1] = all->shape.dim[1];
        if (!part[k]->f || !shape_equal(&shape, &all->shape)) return NULL;
    }
    all->count = shape_count(&all->shape);
    float *to = all->f = arena_alloc(c->arena, sizeof *all->f * all->count);
    for (size_t n = 0; n < samples; n++)
        for (int k = 0; k < parts; k++) {
            size_t count = (size_t)part[k]->shape.dim[1] * plane;
            memcpy(to, part[k]->f + n * count, sizeof *to * count);
            to += count;
        }
    return all;
}

/* A node and its weights that give channels first .. first + count - 1 of "joined" as `name`. */
static Onnx__NodeProto *pick(const OnnxGraph *to, const Shape *all, int first, int count,
                             const char *name) {
    bool flat = all->rank == 2; /* Gemm: [out, in] */
    Shape shape = {.rank = all->rank, .dim = {count, all->dim[1], 1, 1, 1}};
    float *ones = arena_zeros(to->arena, sizeof *ones * shape_count(&shape));
    for (int i = 0; i < count; i++) ones[i * all->dim[1] + first + i] = 1;
    const char *weights = arena_text(to->arena, "ones_%s", name);
    onnx_floats(to, weights, &shape, ones);
    Onnx__NodeProto *node =
        onnx_node(to, flat ? "Gemm" : "Conv", name, 2, (const char *[]){"joined", weights}, name);
    if (flat) {
        Onnx__AttributeProto *a = onnx_attribute(to, node, "transB", onnx_int.type);
        a->has_i = true;
        a->i = 1;
    }
    return node;
}

/* [N,1] as `from` becomes [N]. */
static void drop_column(const OnnxGraph *to, const char *from, const char *name) {
    static int64_t axis = 1;
    Onnx__NodeProto *node = onnx_node(to, "Squeeze", name, 1, &from, name);
    Onnx__AttributeProto *a = onnx_attribute(to, node, "axes", onnx_sizes.type);
    a->n_ints = 1;
    a->ints = &axis;
}

/* The graph of a node that joins values, with one input. */
static bool take_joined(const Case *c, const OnnxConstant **x) {
    static const char *const joining[] = {"Add", "Sub", "Mul", "Div", "Concat"};
    Onnx__GraphProto *graph = c->model->graph;
    bool joins = false;
    for (size_t i = 0; i < sizeof joining / sizeof *joining; i++)
        joins |= graph->n_node == 1 && strcmp(graph->node[0]->op_type, joining[i]) == 0;
    if (!joins || graph->n_initializer || graph->n_input < 2 || graph->n_input > INPUTS)
        return false;
    const OnnxConstant *part[INPUTS];
    int parts = (int)graph->n_input, first = 0;
    bool line = false;
    for (int k = 0; k < parts; k++) {
        OnnxConstant *numbers_of = (OnnxConstant *)numbers(c, read_tensor(c, "input", k));
        if (!numbers_of || numbers_of->shape.rank < 1 || numbers_of->shape.rank > 2 + SPATIAL)
            return false;
        if (numbers_of->shape.rank == 1) {
            line = true;
            numbers_of->shape = SHAPE(numbers_of->shape.dim[0], 1);
        }
        part[k] = numbers_of;
    }
    if (!(*x = joined(c, part, parts))) return false;
    OnnxGraph to = onnx_graph(c->arena, "joined");
    Shape sample = shape_sample(&(*x)->shape);
    onnx_input(&to, "joined", &sample);
    for (int k = 0; k < parts; k++) {
        const char *name = graph->input[k]->name;
        const char *column = line ? arena_text(c->arena, "%s_column", name) : name;
        pick(&to, &(*x)->shape, first, part[k]->shape.dim[1], column);
        if (line) drop_column(&to, column, name);
        first += part[k]->shape.dim[1];
    }
    const Onnx__NodeProto *from = graph->node[0];
    Onnx__NodeProto *node = onnx_node(&to, from->op_type, from->name, (int)from->n_input,
                                      (const char *const *)from->input, from->output[0]);
    node->n_attribute = from->n_attribute;
    node->attribute = from->attribute;
    to.proto->n_output = graph->n_output;
    to.proto->output = graph->output;
    c->model->graph = to.proto;
    return true;
}

/* --- sequences --- */

/* The element of a net's value that stands at `index` of one whose axes have those sizes and that
 * order; the net's are N, T if there is one, then features: D directions of H. */
static size_t of_net(const char *axes, const int64_t *size, size_t index) {
    size_t at[128] = {0}, count[128] = {0};
    for (size_t d = strlen(axes); d-- > 0; index /= (size_t)size[d]) {
        count[(int)axes[d]] = (size_t)size[d];
        at[(int)axes[d]] = index % (size_t)size[d];
    }
    size_t element = 0;
    for (const char *axis = "NTDH"; *axis; axis++)
        if (count[(int)*axis]) element = element * count[(int)*axis] + at[(int)*axis];
    return element;
}

/* The net's input of data that has the steps first. */
static float *batch_first(const Case *c, const OnnxConstant *x) {
    int64_t size[] = {x->shape.dim[0], x->shape.dim[1], x->shape.dim[2]};
    float *to = arena_alloc(c->arena, sizeof *to * x->count);
    for (size_t i = 0; i < x->count; i++) to[of_net("TNH", size, i)] = x->f[i];
    return to;
}

/* The suite's own tolerance. */
static bool close_to(const float *have, const OnnxConstant *want, const char *axes) {
    int64_t size[MAX_RANK];
    for (int d = 0; d < want->shape.rank; d++) size[d] = want->shape.dim[d];
    for (size_t i = 0; i < want->count; i++) {
        float y = have[axes ? of_net(axes, size, i) : i];
        if (!(fabsf(y - want->f[i]) <= 1e-7f + 1e-3f * fabsf(want->f[i]))) return false;
    }
    return true;
}

static const char *run(const Case *c, Error *error) {
    const OnnxConstant *x = NULL;
    if (!take_joined(c, &x) && (!take_inputs(c, &x) || !x->f || !x->count)) {
        error_set(error, ERROR_INPUT, "its inputs are no floats");
        return "refused";
    }
    OnnxReader reader;
    const Onnx__GraphProto *graph = c->model->graph;
    const char *output = graph->n_output ? graph->output[0]->name : NULL;
    Graph *net = onnx_check(c->model, (int64_t *)&c->opset, error)
                     ? onnx_read_graph(&reader, c->model, c->opset, output, c->arena, error)
                     : NULL;
    if (!net) return "refused";
    const OnnxConstant *want = numbers(c, read_tensor(c, "output", 0));
    Tape *tape = tape_new(false);
    Shape shape = shape_batched(&net->node[0].shape, x->shape.dim[reader.steps_first ? 1 : 0]);
    const float *data = reader.steps_first ? batch_first(c, x) : x->f;
    Tensor *y =
        graph_forward(net, &(Run){.tape = tape}, tensor_copy(tape->arena, shape, data), NULL);
    bool same =
        want && want->f && y->count == want->count && close_to(y->data, want, reader.output_axes);
    tape_free(tape);
    graph_free(net);
    return same ? "passed" : "wrong";
}

static void run_case(const char *folder) {
    Case c = {.arena = arena_new(), .folder = folder};
    Error error = {0};
    unsigned char *data;
    size_t size;
    const char *what = "foreign", *op = "?"; /* what cannot be parsed has sub-graphs */
    if (file_read(c.arena, arena_text(c.arena, "%s/model.onnx", folder), BYTES, &data, &size,
                  &error) &&
        (c.model = (Onnx__ModelProto *)onnx_parse(data, size, c.arena, &c.opset, &error))) {
        const Onnx__GraphProto *graph = c.model->graph;
        if (graph->n_node) op = graph->node[graph->n_node - 1]->op_type;
        what = is_ours(graph) ? run(&c, &error) : "foreign";
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
