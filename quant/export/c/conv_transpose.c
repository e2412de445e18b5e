/* conv_transpose: as conv; the runtime gathers. */
#include "nn/layers/conv_transpose.h"

#include "quant/export/c/writer.h"

static void emit(CWriter *c, const CCall *call) {
    const ConvTransposeLayerSpec *spec = call->q->node->spec;
    c_conv(c, call, "conv_transpose", &spec->map.window, spec->map.groups, spec->out);
}

const CEmitter conv_transpose_emitter = {
    .instr = "conv_transpose",
    .runtime =
        (const char *const[]){"round", "weights", "window", "conv_layer", "conv_transpose", NULL},
    .emit = emit,
};
