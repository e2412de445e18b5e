/* A permutation: the gradient of each element goes back to where the element came from. */
#include "quant/outputs_first.h"

static void first_backward(const Entry *entry) {
    const WeightLayout *layout = entry->saved;
    const float *g = entry->out->grad;
    for (int o = 0; o < layout->outputs; o++)
        for (int k = 0; k < layout->runs * layout->run; k++)
            entry->in[0]->grad[weight_index(layout, o, k)] += *g++;
}

static void order_backward(const Entry *entry) {
    const WeightLayout *layout = entry->saved;
    float *dv = entry->in[0]->grad;
    for (int o = 0; o < layout->outputs; o++)
        for (int k = 0; k < layout->runs * layout->run; k++)
            *dv++ += entry->out->grad[weight_index(layout, o, k)];
}

static const Op outputs_first_op = {.name = "outputs_first", .backward = first_backward};
static const Op layer_order_op = {.name = "layer_order", .backward = order_backward};

static WeightLayout *layout_of(Tape *tape, const Node *node) {
    WeightLayout *layout = arena_alloc(tape->arena, sizeof *layout);
    *layout = node_layout(node);
    return layout;
}

Tensor *op_outputs_first(Tape *tape, Tensor *w, const Node *node) {
    if (!node->layer->layout) return w;
    WeightLayout *layout = layout_of(tape, node);
    int depth = layout->runs * layout->run;
    Tensor *v = tape_tensor(tape, SHAPE(layout->outputs, depth));
    float *to = v->data;
    for (int o = 0; o < layout->outputs; o++)
        for (int k = 0; k < depth; k++) *to++ = w->data[weight_index(layout, o, k)];
    tape_record(tape, &outputs_first_op, v, 1, (Tensor *[]){w}, layout);
    return v;
}

Tensor *op_layer_order(Tape *tape, Tensor *v, const Node *node) {
    if (!node->layer->layout) return v;
    WeightLayout *layout = layout_of(tape, node);
    Tensor *w = tape_tensor(tape, node_tensor(node, "weight")->shape);
    const float *from = v->data;
    for (int o = 0; o < layout->outputs; o++)
        for (int k = 0; k < layout->runs * layout->run; k++)
            w->data[weight_index(layout, o, k)] = *from++;
    tape_record(tape, &layer_order_op, w, 1, (Tensor *[]){v}, layout);
    return w;
}
