/* Weights as tables: codes of 8, 4 or 2 bits, the narrowest that holds them; the runtime has a
 * function that reads each. */
#include "quant/export/c/writer.h"
#include "quant/rules/integers.h"

static int width_of(const QNode *q) {
    return q->weight.bits <= 2 ? 2 : q->weight.bits <= 4 ? 4 : 8;
}

/* Codes, the first in the lowest bits of a byte, in the order of outputs. */
static void write_codes(CWriter *c, const CCall *call, const int order[]) {
    const WeightedIntegers *w = call->q->integers;
    int width = width_of(call->q), filled = 0, byte = 0;
    size_t count = (size_t)w->outputs * (size_t)w->depth, before = c->flash;
    size_t bytes = (count * (size_t)width + 7) / 8;
    c_array_open(c, width == 8 ? C_INT8 : C_UINT8, call->id, "weight", bytes);
    for (int o = 0; o < w->outputs; o++)
        for (int k = 0; k < w->depth; k++) {
            int code = w->weight[(size_t)o * (size_t)w->depth + (size_t)(order ? order[k] : k)];
            if (width == 8) {
                c_array_put(c, code);
                continue;
            }
            byte |= (code & ((1 << width) - 1)) << filled;
            filled += width;
            if (filled < 8) continue;
            c_array_put(c, byte);
            filled = byte = 0;
        }
    if (filled) c_array_put(c, byte);
    c_array_close(c);
    c->weights += c->flash - before;
}

void c_weights(CWriter *c, const CCall *call, const int order[]) {
    const WeightedIntegers *w = call->q->integers;
    static const char *const dots[] = {[2] = "dot2", [4] = "dot4", [8] = "dot8"};
    size_t outputs = (size_t)w->outputs;
    c_use(c, dots[width_of(call->q)]);
    write_codes(c, call, order);
    if (!call->q->weight.symmetric) {
        c_array_open(c, C_INT8, call->id, "w_zero", outputs);
        for (size_t o = 0; o < outputs; o++)
            c_array_put(c, w->grid.zero_point[w->grid.channels == 1 ? 0 : o]);
        c_array_close(c);
    }
    c_array_open(c, C_INT32, call->id, "bias", outputs);
    for (size_t o = 0; o < outputs; o++) c_array_put(c, w->bias[o]);
    c_array_close(c);
    c_array_open(c, C_INT32, call->id, "m0", outputs);
    for (size_t o = 0; o < outputs; o++) c_array_put(c, w->multiplier[o].m0);
    c_array_close(c);
    c_array_open(c, C_UINT8, call->id, "shift", outputs);
    for (size_t o = 0; o < outputs; o++) c_array_put(c, w->multiplier[o].shift);
    c_array_close(c);
}

CText c_weights_text(const CCall *call) {
    CText t;
    const QNode *q = call->q;
    const WeightedIntegers *w = q->integers;
    const char *id = call->id;
    Bounds bounds = rule_bounds(q);
    int used = snprintf(t.text, sizeof t.text, "{P_dot%d, P_%s_weight, ", width_of(q), id);
    used += q->weight.symmetric
                ? snprintf(t.text + used, sizeof t.text - (size_t)used, "0, ")
                : snprintf(t.text + used, sizeof t.text - (size_t)used, "P_%s_w_zero, ", id);
    snprintf(t.text + used, sizeof t.text - (size_t)used,
             "P_%s_bias, P_%s_m0, P_%s_shift, %d, %d, %d, %d, %d}", id, id, id, w->depth,
             quantizer_zero(q->in[0]), quantizer_zero(q->out), bounds.lo, bounds.hi);
    return t;
}

void c_conv(CWriter *c, const CCall *call, const char *function, const Window *window, int groups,
            int outputs) {
    const QNode *q = call->q;
    Shape in = shape_batched(&q->from[0]->shape, 1), out = shape_batched(&q->node->shape, 1);
    int in_size[SPATIAL], out_size[SPATIAL], channels = in.dim[1] / groups;
    int places = window->kernel[0] * window->kernel[1] * window->kernel[2];
    window_sizes(&in, in_size);
    window_sizes(&out, out_size);
    Arena *arena = arena_new();
    int *order = arena_alloc(arena, sizeof *order * (size_t)(places * channels));
    for (int p = 0; p < places; p++) /* the layer's weights have channels first, values last */
        for (int k = 0; k < channels; k++) order[p * channels + k] = k * places + p;
    c_weights(c, call, order);
    arena_free(arena);
    c_struct(c, "conv_t", call->id, C_WINDOW_WORDS + 3 + C_WEIGHTS_WORDS,
             "{\n    %s,\n    %d, %d, %d,\n    %s,\n}", c_window(window, in_size, out_size).text,
             groups, channels, outputs / groups, c_weights_text(call).text);
    c_call(c, "%s(&P_%s_layer, %s, %s)", function, call->id, call->in[0], call->out);
}
