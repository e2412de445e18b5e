/* mul: both zero points and the multiplier. */
#include "quant/export/c/writer.h"
#include "quant/rules/integers.h"

static void emit(CWriter *c, const CCall *call) {
    const QNode *q = call->q;
    const ProductIntegers *integers = q->integers;
    c_struct(c, "mul_t", call->id, 2 + C_SCALE_WORDS, "{%d, %d, %s}", quantizer_zero(q->in[0]),
             quantizer_zero(q->in[1]), c_scale(q, integers->multiplier).text);
    c_call(c, "mul(&P_%s_layer, %zu, %s, %s, %s)", call->id,
           call->instr->value[call->instr->out].bytes, call->in[0], call->in[1], call->out);
}

const CEmitter mul_emitter = {
    .instr = "mul",
    .runtime = (const char *const[]){"round", "scale", "mul", NULL},
    .in_place = emitter_always,
    .emit = emit,
};
