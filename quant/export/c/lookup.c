/* lookup: the table of codes, as long as its input has codes. */
#include "quant/export/c/writer.h"
#include "quant/int8/lookup.h"

static void emit(CWriter *c, const CCall *call) {
    uint8_t table[256];
    int codes = quantizer_top(call->q->in[0]) + 1;
    lookup_table(call->q, table);
    c_array_open(c, C_UINT8, call->id, "table", (size_t)codes);
    for (int u = 0; u < codes; u++) c_array_put(c, table[u]);
    c_array_close(c);
    c_call(c, "lookup(P_%s_table, %zu, %s, %s)", call->id,
           call->instr->value[call->instr->out].bytes, call->in[0], call->out);
}

const CEmitter lookup_emitter = {
    .instr = "lookup",
    .runtime = (const char *const[]){"lookup", NULL},
    .in_place = emitter_always,
    .emit = emit,
};
