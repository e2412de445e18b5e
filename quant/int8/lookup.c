/* lookup: any function of one value as a table of 256 codes, made here with N1 and N2 from the
 * layer's own float function (N7). */
#include "quant/int8/lookup.h"

typedef struct LookupArgs {
    uint8_t table[256];
} LookupArgs;

void lookup_table(const QNode *q, uint8_t table[256]) {
    const Quantizer *in = q->in[0], *out = q->out;
    for (int byte = 0; byte <= quantizer_top(in); byte++) {
        float x = dequantize(&in->q, 0, byte + in->q.qmin);
        float y = q->node->layer->pointwise(q->node, x);
        table[byte] = (uint8_t)(quantize(&out->q, 0, y) - out->q.qmin);
    }
}

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    LookupArgs *args = arena_zeros(arena, sizeof *args);
    lookup_table(q, args->table);
    return args;
}

static void run(const Instr *instr, const Call *call) {
    const LookupArgs *args = instr->args;
    size_t count = (size_t)call->samples * instr->value[instr->out].bytes;
    for (size_t i = 0; i < count; i++) call->out[i] = args->table[call->in[0][i]];
}

const InstrKind lookup_instr = {
    .name = "lookup",
    .summary = "a function of one value, by a table",
    .rule = "pointwise",
    .lower = lower,
    .run = run,
};
