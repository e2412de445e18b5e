/* ONNX's recurrent operators have one layer and the steps first: x[T,N,F] -> Y[T,D,N,H], and
 * Y_h[D,N,H] where each of the D directions ends; weights W[D,G H,F], R[D,G H,H], biases
 * B[D,2 G H], those of W, then those of R. Here, as in PyTorch, the samples are first, directions
 * lie side by side in the features, and the G gates have another order. */
#include "quant/onnx/recurrent.h"

#include <string.h>

#include "nn/layers/recurrent.h"

static const OnnxRecurrent lstm = {
    "lstm", "LSTM", 4, {0, 3, 1, 2}, {"Sigmoid", "Tanh", "Tanh"}}; /* i f g o -> i o f g */
static const OnnxRecurrent gru = {
    "gru", "GRU", 3, {1, 0, 2}, {"Sigmoid", "Tanh"}}; /* r z n -> z r n */

const OnnxRecurrent *onnx_recurrent(const char *name) {
    bool is_lstm = strcmp(name, lstm.layer) == 0 || strcmp(name, lstm.op_type) == 0;
    bool is_gru = strcmp(name, gru.layer) == 0 || strcmp(name, gru.op_type) == 0;
    return is_lstm ? &lstm : is_gru ? &gru : NULL;
}

typedef struct Writer {
    const OnnxGraph *graph;
    const Node *node;
    const OnnxRecurrent *kind;
    int hidden, directions;
} Writer;

#define TEXT(w, ...) arena_text((w)->graph->arena, __VA_ARGS__)

static const Tensor *param_of(const Writer *w, const char *what, int layer, int reverse) {
    return node_tensor(w->node, TEXT(w, "%s_l%d%s", what, layer, reverse ? "_reverse" : ""));
}

/* The parameters `part`, one behind the other, of each direction, gates in ONNX's order. */
static const char *stack(const Writer *w, const char *name, int layer, int parts,
                         const char *const part[]) {
    const Tensor *first = param_of(w, part[0], layer, 0);
    if (!first) return NULL; /* no bias */
    size_t gate = first->count / (size_t)w->kind->gates;
    size_t count = (size_t)(w->directions * parts) * first->count;
    float *data = arena_alloc(w->graph->arena, sizeof *data * count), *to = data;
    for (int d = 0; d < w->directions; d++)
        for (int p = 0; p < parts; p++)
            for (int g = 0; g < w->kind->gates; g++, to += gate)
                memcpy(to, param_of(w, part[p], layer, d)->data + (size_t)w->kind->order[g] * gate,
                       gate * sizeof *to);
    Shape shape = {.rank = 1 + first->shape.rank, .dim = {w->directions}};
    memcpy(shape.dim + 1, first->shape.dim, sizeof(int) * (size_t)first->shape.rank);
    shape.dim[1] *= parts;
    return onnx_floats(w->graph, TEXT(w, "%s.%s_l%d", w->node->name, name, layer), &shape, data);
}

static const char *transpose(const Writer *w, const char *name, const char *in, int rank,
                             const int64_t *order) {
    Onnx__NodeProto *to = onnx_node(w->graph, "Transpose", name, 1, &in, name);
    Onnx__AttributeProto *perm =
        onnx_attribute(w->graph, to, "perm", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    perm->n_ints = (size_t)rank;
    perm->ints = (int64_t *)order;
    return name;
}

static void set_int(const Writer *w, Onnx__NodeProto *to, const char *name, int value) {
    Onnx__AttributeProto *a =
        onnx_attribute(w->graph, to, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    a->has_i = true;
    a->i = value;
}

/* The operator of one layer; base is its node's name, base_Y and base_Y_h are its results. */
static void write_layer(const Writer *w, int layer, const char *in, const char *base) {
    const char *inputs[] = {in, stack(w, "W", layer, 1, (const char *[]){"weight_ih"}),
                            stack(w, "R", layer, 1, (const char *[]){"weight_hh"}),
                            stack(w, "B", layer, 2, (const char *[]){"bias_ih", "bias_hh"})};
    Onnx__NodeProto *to = onnx_node(w->graph, w->kind->op_type, base, inputs[3] ? 4 : 3, inputs,
                                    TEXT(w, "%s_Y", base));
    onnx_node_output(w->graph, to, TEXT(w, "%s_Y_h", base));
    Onnx__AttributeProto *direction =
        onnx_attribute(w->graph, to, "direction", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    char *word = TEXT(w, "%s", w->directions == 2 ? "bidirectional" : "forward");
    direction->has_s = true;
    direction->s = (ProtobufCBinaryData){strlen(word), (uint8_t *)word};
    set_int(w, to, "hidden_size", w->hidden);
    bool after = ((const RecurrentLayerSpec *)w->node->spec)->reset == RESET_AFTER;
    if (w->kind == &gru) set_int(w, to, "linear_before_reset", after);
}

static void write(const OnnxGraph *graph, const Node *node, const OnnxRecurrent *kind,
                  const char *in, const char *out) {
    static const int64_t samples_second[] = {1, 0, 2}, between[] = {0, 2, 1, 3},
                         samples_first[] = {2, 0, 1, 3};
    const RecurrentLayerSpec *spec = node->spec;
    Writer w = {graph, node, kind, spec->hidden, 1 + spec->bidirectional};
    int width = w.directions * w.hidden;
    const char *x = transpose(&w, TEXT(&w, "%s_steps_first", node->name), in, 3, samples_second);
    for (int layer = 0; layer < spec->layers; layer++) {
        const char *base = TEXT(&w, "%s_l%d", node->name, layer);
        write_layer(&w, layer, x, base);
        const char *y = TEXT(&w, "%s_Y", base), *turned = TEXT(&w, "%s_turned", base);
        if (layer < spec->layers - 1) {
            x = TEXT(&w, "%s_joined", base);
            onnx_reshape(graph, x, transpose(&w, turned, y, 4, between), &SHAPE(0, width), x);
        } else if (node->shape.rank == 1) { /* where each direction ends */
            y = TEXT(&w, "%s_Y_h", base);
            onnx_reshape(graph, node->name, transpose(&w, turned, y, 3, samples_second),
                         &SHAPE(width), out);
        } else {
            onnx_reshape(graph, node->name, transpose(&w, turned, y, 4, samples_first),
                         &SHAPE(0, width), out);
        }
    }
}

void onnx_write_lstm(const OnnxGraph *graph, const Node *node, const char *const in[],
                     const char *out) {
    write(graph, node, &lstm, in[0], out);
}

void onnx_write_gru(const OnnxGraph *graph, const Node *node, const char *const in[],
                    const char *out) {
    write(graph, node, &gru, in[0], out);
}
