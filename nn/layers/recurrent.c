#include "nn/layers/recurrent.h"

#include <stdio.h>

#include "nn/init.h"

enum { LAYERS_MOST = NODE_PARAMS / 8 }; /* each with two directions of four parameters */

static const char *const recurrent_outputs[] = {"all", "last", NULL};
enum { OUTPUT_ALL, OUTPUT_LAST };
static const char *const gru_resets[] = {[RESET_AFTER] = "after", [RESET_BEFORE] = "before", NULL};

#define AT(field) offsetof(RecurrentLayerSpec, field)
#define RECURRENT_FIELDS                                                                           \
    {"hidden", &field_int, AT(hidden), 1, 1 << 14, NULL, NULL},                                    \
        {"layers", &field_int, AT(layers), 1, LAYERS_MOST, "1", NULL},                             \
        {"bidirectional", &field_bool, AT(bidirectional), 0, 0, "false", NULL},                    \
        {"bias", &field_bool, AT(bias), 0, 0, "true", NULL}, {                                     \
        "output", &field_choice, AT(output), 0, 0, "all", recurrent_outputs                        \
    }

const Field recurrent_fields[] = {RECURRENT_FIELDS, {0}};
const Field gru_fields[] = {
    RECURRENT_FIELDS,
    {"reset", &field_choice, AT(reset), 0, 0, "after", gru_resets},
    {0},
};

/* A parameter's name is PyTorch's: "weight_ih_l0", "bias_hh_l1_reverse". */
static const char *name_of(char text[PARAM_NAME], const char *what, int layer, bool reverse) {
    snprintf(text, PARAM_NAME, "%s_l%d%s", what, layer, reverse ? "_reverse" : "");
    return text;
}

static void add_direction(Node *node, int layer, bool reverse, int gates, int features) {
    const RecurrentLayerSpec *spec = node->spec;
    char name[PARAM_NAME];
    node_matrix(node, name_of(name, "weight_ih", layer, reverse), gates, features);
    node_matrix(node, name_of(name, "weight_hh", layer, reverse), gates, spec->hidden);
    if (!spec->bias) return;
    node_param(node, name_of(name, "bias_ih", layer, reverse), SHAPE(gates), true);
    node_param(node, name_of(name, "bias_hh", layer, reverse), SHAPE(gates), true);
}

bool recurrent_shape(Node *node, const Cell *cell, const Shape *const in[], Error *error) {
    const RecurrentLayerSpec *spec = node->spec;
    char text[SHAPE_TEXT];
    if (in[0]->rank != 2)
        return error_set(error, ERROR_INPUT,
                         "%s needs a sequence, steps x features, not %s: put a reshape before it",
                         cell->name, shape_text(in[0], text));
    int steps = in[0]->dim[0], directions = 1 + spec->bidirectional;
    int gates = cell->gates * spec->hidden, width = directions * spec->hidden;
    int widest = in[0]->dim[1] > width ? in[0]->dim[1] : width;
    if ((double)gates * widest > 0x1p28)
        return error_set(error, ERROR_INPUT, "%d x %d weights, at most 2^28", gates, widest);
    if ((double)gates * steps > 0x1p28)
        return error_set(error, ERROR_INPUT, "%d gates in each of %d steps, at most 2^28", gates,
                         steps);
    for (int layer = 0; layer < spec->layers; layer++)
        for (int reverse = 0; reverse < directions; reverse++)
            add_direction(node, layer, reverse, gates, layer ? width : in[0]->dim[1]);
    node->shape = spec->output == OUTPUT_LAST ? SHAPE(width) : SHAPE(steps, width);
    return true;
}

/* PyTorch's: all parameters uniform in +- 1 / sqrt(hidden). */
void recurrent_init(Node *node, Rng *rng) {
    int hidden = ((const RecurrentLayerSpec *)node->spec)->hidden;
    for (int i = 0; i < node->params; i++)
        init_weights(INIT_DEFAULT, node->param[i].tensor, NULL, hidden, 0, rng);
}

/* One a step. */
size_t recurrent_places(const Node *node, const Shape *in) {
    (void)node;
    return (size_t)in->dim[0];
}

/* Both directions' features side by side: [...,H] and [...,H] -> [...,2 H]. */
static Tensor *join(Tape *tape, Tensor *const direction[2]) {
    Shape shape = direction[0]->shape;
    int *width = &shape.dim[shape.rank - 1];
    Shape rows = SHAPE((int)(direction[0]->count / (size_t)*width), *width);
    Tensor *flat[2];
    for (int i = 0; i < 2; i++) flat[i] = op_reshape(tape, direction[i], rows);
    *width *= 2;
    return op_reshape(tape, op_concat(tape, 2, flat), shape);
}

Tensor *recurrent_forward(const Run *run, const Node *node, const Cell *cell, Tensor *x) {
    const RecurrentLayerSpec *spec = node->spec;
    for (int layer = 0; layer < spec->layers; layer++) {
        Tensor *direction[2];
        bool last = spec->output == OUTPUT_LAST && layer == spec->layers - 1;
        for (int reverse = 0; reverse <= spec->bidirectional; reverse++) {
            char w[PARAM_NAME], b[PARAM_NAME];
            Product input = node_product(node, name_of(w, "weight_ih", layer, reverse),
                                         name_of(b, "bias_ih", layer, reverse));
            Product recur = node_product(node, name_of(w, "weight_hh", layer, reverse),
                                         name_of(b, "bias_hh", layer, reverse));
            direction[reverse] =
                op_recurrent(run->tape, x, &input, &recur, &(RecurrentSpec){cell, reverse, last});
        }
        x = spec->bidirectional ? join(run->tape, direction) : direction[0];
    }
    return x;
}
