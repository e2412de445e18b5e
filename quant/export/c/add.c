/* add: one struct with both multipliers, at their joint shift. */
#include "quant/export/c/writer.h"
#include "quant/rules/integers.h"

static void emit(CWriter *c, const CCall *call) {
    const QNode *q = call->q;
    const Multiplier *m = ((const SumIntegers *)q->integers)->multiplier;
    Bounds bounds = rule_bounds(q);
    c_struct(c, "add_t", call->id, 8, "{%d, %d, %d, %d, %d, %d, %d, %d}", quantizer_zero(q->in[0]),
             m[0].m0, quantizer_zero(q->in[1]), m[1].m0, m[0].shift, quantizer_zero(q->out),
             bounds.lo, bounds.hi);
    c_call(c, "add(&P_%s_layer, %zu, %s, %s, %s)", call->id,
           call->instr->value[call->instr->out].bytes, call->in[0], call->in[1], call->out);
}

const CEmitter add_emitter = {
    .instr = "add",
    .runtime = (const char *const[]){"round", "add", NULL},
    .in_place = emitter_always,
    .emit = emit,
};
