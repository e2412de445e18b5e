/* linear: tables of weights. */
#include "quant/export/c/writer.h"

static void emit(CWriter *c, const CCall *call) {
    c_weights(c, call, NULL);
    c_struct(c, "weights_t", call->id, C_WEIGHTS_WORDS, "%s", c_weights_text(call).text);
    c_call(c, "linear(&P_%s_layer, %d, %s, %s)", call->id, call->q->node->shape.dim[0], call->in[0],
           call->out);
}

const CEmitter linear_emitter = {
    .instr = "linear",
    .runtime = (const char *const[]){"round", "weights", "linear", NULL},
    .emit = emit,
};
