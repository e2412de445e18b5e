/* scale: y[n,c] = w[c] x[n,c] on a flat input. A layer with an input and a weight. */
#include "quant/program.h"
#include "quant/rules/integers.h"

static bool shape(Node *node, const Shape *const in[], Error *error) {
    if (in[0]->rank != 1) return error_set(error, ERROR_INPUT, "scale needs a flat input");
    node->shape = *in[0];
    node_param(node, "weight", *in[0], true);
    return true;
}

static void init(Node *node, Rng *rng) {
    (void)rng;
    Tensor *w = node_tensor(node, "weight");
    for (size_t c = 0; c < w->count; c++) w->data[c] = 1;
}

/* With another weight, and the bias that a batchnorm behind it leaves: as a convolution of C
 * groups, of one channel each and one place. */
static Tensor *apply(Tape *tape, const Node *node, Tensor *x, Tensor *w, Tensor *b) {
    (void)node;
    int samples = x->shape.dim[0], channels = x->shape.dim[1];
    const ConvSpec conv = {{.kernel = {1, 1, 1}, .stride = {1, 1, 1}, .dilation = {1, 1, 1}},
                           .groups = channels};
    x = op_reshape(tape, x, SHAPE(samples, channels, 1));
    Tensor *y = op_conv(tape, x, op_reshape(tape, w, SHAPE(channels, 1, 1)), b, &conv);
    return op_reshape(tape, y, SHAPE(samples, channels));
}

static Tensor *forward(const Run *run, const Node *node, Tensor *const in[]) {
    return apply(run->tape, node, in[0], node_tensor(node, "weight"), NULL);
}

const Layer scale_layer = {
    .name = "scale",
    .summary = "a factor for each channel",
    .inputs = 1,
    .shape = shape,
    .init = init,
    .forward = forward,
    .apply = apply,
    .rule = "weighted",
};

/* --- with integers --- */

typedef struct ScaleArgs {
    int channels;
    const int32_t *weight, *bias; /* [channels], q_w - Z_w and q_b */
    const Multiplier *multiplier; /* [channels] */
    int32_t zero_in, zero_out;
    Bounds bounds; /* a relu behind it is absorbed */
} ScaleArgs;

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    const WeightedIntegers *w = q->integers;
    size_t channels = (size_t)w->outputs;
    int32_t *weight = arena_alloc(arena, sizeof *weight * channels);
    int32_t *bias = arena_alloc(arena, sizeof *bias * channels);
    Multiplier *multiplier = arena_alloc(arena, sizeof *multiplier * channels);
    for (size_t c = 0; c < channels; c++) {
        weight[c] = w->weight[c] - w->grid.zero_point[w->grid.channels == 1 ? 0 : c];
        bias[c] = w->bias[c];
        multiplier[c] = w->multiplier[c];
    }
    ScaleArgs *args = arena_alloc(arena, sizeof *args);
    *args = (ScaleArgs){
        w->outputs,    weight, bias, multiplier, quantizer_zero(q->in[0]), quantizer_zero(q->out),
        rule_bounds(q)};
    return args;
}

static void run(const Instr *instr, const Call *call) {
    const ScaleArgs *a = instr->args;
    for (int i = 0; i < call->samples * a->channels; i++) {
        int c = i % a->channels;
        int32_t acc = (call->in[0][i] - a->zero_in) * a->weight[c] + a->bias[c];
        call->out[i] =
            (uint8_t)requantize(acc, a->multiplier[c], a->zero_out, a->bounds.lo, a->bounds.hi);
    }
}

const InstrKind scale_instr = {
    .name = "scale",
    .summary = "a factor for each channel, with relu",
    .lowers = (const char *const[]){"scale", NULL},
    .lower = lower,
    .run = run,
};
