/* batchnorm: a weighted node with one weight an output. */
#include "quant/export/c/writer.h"

static void emit(CWriter *c, const CCall *call) {
    const Value *out = &call->instr->value[call->instr->out];
    c_weights(c, call, NULL);
    c_struct(c, "weights_t", call->id, C_WEIGHTS_WORDS, "%s", c_weights_text(call).text);
    c_call(c, "batchnorm(&P_%s_layer, %d, %d, %s, %s)", call->id, out->positions, out->channels,
           call->in[0], call->out);
}

const CEmitter batchnorm_emitter = {
    .instr = "batchnorm",
    .runtime = (const char *const[]){"round", "weights", "batchnorm", NULL},
    .in_place = emitter_always,
    .emit = emit,
};
