/* softmax: the table of powers, as long as its input has codes. */
#include "quant/export/c/writer.h"
#include "quant/rules/integers.h"

static void emit(CWriter *c, const CCall *call) {
    const QNode *q = call->q;
    const SoftmaxIntegers *integers = q->integers;
    const Value *out = &call->instr->value[call->instr->out];
    int codes = quantizer_top(q->in[0]) + 1;
    Bounds bounds = rule_bounds(q);
    c_array_open(c, C_INT32, call->id, "power", (size_t)codes);
    for (int d = 0; d < codes; d++) c_array_put(c, integers->power[d]);
    c_array_close(c);
    c_struct(c, "softmax_t", call->id, 6, "{P_%s_power, %d, %d, %d, %d, %d}", call->id,
             out->channels, integers->bits, quantizer_zero(q->out), bounds.lo, bounds.hi);
    c_call(c, "softmax(&P_%s_layer, %d, %s, %s)", call->id, out->positions, call->in[0], call->out);
}

const CEmitter softmax_emitter = {
    .instr = "softmax",
    .runtime = (const char *const[]){"softmax", NULL},
    .in_place = emitter_always,
    .emit = emit,
};
