/* concat: a call for each input, which writes its channels at their place. */
#include "quant/export/c/writer.h"
#include "quant/rules/integers.h"

static void emit(CWriter *c, const CCall *call) {
    const QNode *q = call->q;
    const ConcatIntegers *integers = q->integers;
    const Value *out = &call->instr->value[call->instr->out];
    c_print(c->tables, "static const P_concat_t P_%s_layer[%d] = {\n", call->id,
            call->instr->inputs);
    for (int k = 0, first = 0; k < call->instr->inputs; k++) {
        int channels = q->from[k]->shape.dim[0];
        c_print(c->tables, "    {%d, %d, %d, %s},\n", channels, out->channels,
                quantizer_zero(q->in[k]), c_scale(q, integers->multiplier[k]).text);
        c_call(c, "concat(&P_%s_layer[%d], %d, %s, %s + %d)", call->id, k, out->positions,
               call->in[k], call->out, first);
        c->flash += 4 * (3 + C_SCALE_WORDS);
        first += channels;
    }
    c_print(c->tables, "};\n");
}

const CEmitter concat_emitter = {
    .instr = "concat",
    .runtime = (const char *const[]){"round", "scale", "concat", NULL},
    .emit = emit,
};
