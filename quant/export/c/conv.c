/* conv: tables of weights, in the order channels last, window and groups. */
#include "nn/layers/conv.h"

#include "quant/export/c/writer.h"

static void emit(CWriter *c, const CCall *call) {
    const ConvLayerSpec *spec = call->q->node->spec;
    c_conv(c, call, "conv", &spec->window, spec->groups, spec->out);
}

const CEmitter conv_emitter = {
    .instr = "conv",
    .runtime =
        (const char *const[]){"round", "weights", "window", "conv_layer", "place", "conv", NULL},
    .emit = emit,
};
