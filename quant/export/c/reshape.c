/* reshape: counts alone. */
#include "quant/export/c/writer.h"

static void emit(CWriter *c, const CCall *call) {
    const Value *in = &call->instr->value[call->instr->in[0]];
    const Value *out = &call->instr->value[call->instr->out];
    c_call(c, "reshape(%zu, %d, %d, %s, %s)", out->bytes, in->positions, out->positions,
           call->in[0], call->out);
}

const CEmitter reshape_emitter = {
    .instr = "reshape",
    .runtime = (const char *const[]){"reshape", NULL},
    .emit = emit,
};
