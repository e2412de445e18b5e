#include "nn/layers/conv_transpose.h"

#define MAP(part) offsetof(ConvTransposeLayerSpec, map.part)

const Field conv_transpose_fields[] = {
    {"out", &field_int, offsetof(ConvTransposeLayerSpec, out), 1, 1 << 16, NULL, NULL},
    {"kernel", &field_sizes, MAP(window.kernel), 1, 255, NULL, NULL},
    {"stride", &field_sizes, MAP(window.stride), 1, 255, "1", NULL},
    {"padding", &field_padding, MAP(window), 0, 127, "0", NULL},
    {"output_padding", &field_sizes, MAP(output_padding), 0, 254, "0", NULL},
    {"dilation", &field_sizes, MAP(window.dilation), 1, 127, "1", NULL},
    {"groups", &field_int, MAP(groups), 1, 1 << 16, "1", NULL},
    {"bias", &field_bool, offsetof(ConvTransposeLayerSpec, bias), 0, 0, "true", NULL},
    {"init", &field_choice, offsetof(ConvTransposeLayerSpec, init), 0, 0, "default", init_names},
    {0},
};

/* The sizes of the result, behind its channels; false where there is none. */
static bool result_sizes(const ConvTransposeSpec *map, const Shape *in, Shape *out, Error *error) {
    char text[SHAPE_TEXT];
    int spatial = in->rank - 1;
    for (int i = 0; i < spatial; i++) {
        int d = SPATIAL - spatial + i;
        int stride = map->window.stride[d], dilation = map->window.dilation[d];
        if (map->output_padding[d] >= (stride > dilation ? stride : dilation))
            return error_set(error, ERROR_INPUT,
                             "output_padding=%d must be less than stride or dilation",
                             map->output_padding[d]);
        int64_t size = conv_transpose_out(map, d, in->dim[1 + i]);
        if (size < 1 || size > 1 << 28)
            return error_set(error, ERROR_INPUT, "padding=%d on %s gives a size of %lld",
                             map->window.padding[d], shape_text(in, text), (long long)size);
        out->dim[1 + i] = (int)size;
    }
    return true;
}

bool conv_transpose_shape(Node *node, const Shape *const in[], Error *error) {
    const ConvTransposeLayerSpec *spec = node->spec;
    int channels = in[0]->dim[0], groups = spec->map.groups, spatial = in[0]->rank - 1;
    if (channels % groups || spec->out % groups)
        return error_set(error, ERROR_INPUT,
                         "groups=%d must divide %d input and %d output channels", groups, channels,
                         spec->out);
    const int *k = spec->map.window.kernel;
    double weights = (double)spec->out / groups * channels * k[0] * k[1] * k[2];
    if (weights > 0x1p28)
        return error_set(error, ERROR_INPUT, "%.0f weights, at most 2^28", weights);
    node->shape = (Shape){.rank = in[0]->rank, .dim = {spec->out}};
    if (!result_sizes(&spec->map, in[0], &node->shape, error)) return false;

    Shape weight = {.rank = spatial + 2, .dim = {channels, spec->out / groups}};
    for (int i = 0; i < spatial; i++) weight.dim[2 + i] = k[SPATIAL - spatial + i];
    node_param(node, "weight", weight, true);
    if (spec->bias) node_param(node, "bias", SHAPE(spec->out), true);
    return true;
}

/* PyTorch reads the fans off the weight's shape, as if it were a convolution's: fan_in is what one
 * input reaches. */
void conv_transpose_init(Node *node, Rng *rng) {
    const ConvTransposeLayerSpec *spec = node->spec;
    Tensor *weight = node_tensor(node, "weight");
    int reach = (int)(weight->count / (size_t)weight->shape.dim[0]);
    int places = reach / weight->shape.dim[1];
    init_weights((InitKind)spec->init, weight, node_tensor(node, "bias"), reach,
                 weight->shape.dim[0] / spec->map.groups * places, rng);
}

/* One a position of the input, which spreads there. */
size_t conv_transpose_places(const Node *node, const Shape *in) {
    (void)node;
    return shape_count(in) / (size_t)in->dim[0];
}

Tensor *conv_transpose_apply(Tape *tape, const Node *node, Tensor *x, Tensor *w, Tensor *b) {
    return op_conv_transpose(tape, x, w, b, &((const ConvTransposeLayerSpec *)node->spec)->map);
}

Tensor *conv_transpose_forward(const Run *run, const Node *node, Tensor *const in[]) {
    return conv_transpose_apply(run->tape, node, in[0], node_tensor(node, "weight"),
                                node_tensor(node, "bias"));
}

/* weight[groups * C][O][places]: output channel o of a group has one run of places in each of the
 * group's rows. */
WeightLayout conv_transpose_layout(const Node *node) {
    const ConvTransposeLayerSpec *spec = node->spec;
    const Tensor *weight = node_tensor(node, "weight");
    int groups = spec->map.groups, rows = weight->shape.dim[0] / groups,
        outputs = weight->shape.dim[1];
    return (WeightLayout){.outputs = spec->out,
                          .block = outputs,
                          .runs = rows,
                          .run = (int)(weight->count / (size_t)(groups * rows * outputs))};
}
