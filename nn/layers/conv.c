#include "nn/layers/conv.h"

#define WINDOW(part) offsetof(ConvLayerSpec, window.part)

const Field conv_fields[] = {
    {"out", &field_int, offsetof(ConvLayerSpec, out), 1, 1 << 16, NULL, NULL},
    {"kernel", &field_sizes, WINDOW(kernel), 1, 255, NULL, NULL},
    {"stride", &field_sizes, WINDOW(stride), 1, 255, "1", NULL},
    {"padding", &field_padding, offsetof(ConvLayerSpec, window), 0, 127, "0", NULL},
    {"dilation", &field_sizes, WINDOW(dilation), 1, 127, "1", NULL},
    {"groups", &field_int, offsetof(ConvLayerSpec, groups), 1, 1 << 16, "1", NULL},
    {"bias", &field_bool, offsetof(ConvLayerSpec, bias), 0, 0, "true", NULL},
    {"init", &field_choice, offsetof(ConvLayerSpec, init), 0, 0, "default", init_names},
    {0},
};

bool conv_shape(Node *node, const Shape *const in[], Error *error) {
    const ConvLayerSpec *spec = node->spec;
    int channels = in[0]->dim[0], spatial = in[0]->rank - 1;
    if (channels % spec->groups || spec->out % spec->groups)
        return error_set(error, ERROR_INPUT,
                         "groups=%d must divide %d input and %d output channels", spec->groups,
                         channels, spec->out);
    if (!window_fits(&spec->window, in[0], error)) return false;
    const int *k = spec->window.kernel;
    double weights = (double)spec->out * channels / spec->groups * k[0] * k[1] * k[2];
    if (weights > 0x1p28)
        return error_set(error, ERROR_INPUT, "%.0f weights, at most 2^28", weights);
    Shape batched = shape_batched(in[0], 1);
    batched = window_shape(&spec->window, &batched, spec->out);
    node->shape = shape_sample(&batched);

    Shape weight = {.rank = spatial + 2, .dim = {spec->out, channels / spec->groups}};
    for (int i = 0; i < spatial; i++)
        weight.dim[2 + i] = spec->window.kernel[SPATIAL - spatial + i];
    node_param(node, "weight", weight, true);
    if (spec->bias) node_param(node, "bias", SHAPE(spec->out), true);
    return true;
}

void conv_init(Node *node, Rng *rng) {
    const ConvLayerSpec *spec = node->spec;
    Tensor *weight = node_tensor(node, "weight");
    int fan_in = (int)(weight->count / (size_t)spec->out);
    int places = fan_in / weight->shape.dim[1];
    init_weights((InitKind)spec->init, weight, node_tensor(node, "bias"), fan_in,
                 spec->out / spec->groups * places, rng);
}

/* One a position of the result. */
size_t conv_places(const Node *node, const Shape *in) {
    (void)in;
    return shape_count(&node->shape) / (size_t)node->shape.dim[0];
}

Tensor *conv_apply(Tape *tape, const Node *node, Tensor *x, Tensor *w, Tensor *b) {
    const ConvLayerSpec *spec = node->spec;
    return op_conv(tape, x, w, b, &(ConvSpec){spec->window, spec->groups});
}

Tensor *conv_forward_tail(const Run *run, const Node *node, Tensor *const in[], const Tail *tail) {
    const ConvLayerSpec *spec = node->spec;
    return op_conv_tail(run->tape, in[0], node_tensor(node, "weight"), node_tensor(node, "bias"),
                        &(ConvSpec){spec->window, spec->groups}, tail);
}

/* It is no tail, but takes values by planes from one. */
bool conv_reads_later(const Run *run, const Node *node, Tensor *const in[], Tail *tail) {
    (void)run, (void)node, (void)in;
    tail->later = true;
    return false;
}

Tensor *conv_forward(const Run *run, const Node *node, Tensor *const in[]) {
    return conv_forward_tail(run, node, in, NULL);
}
