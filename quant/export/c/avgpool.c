/* avgpool: window and multiplier in one struct; tables of multipliers where padding is left out. */
#include "nn/layers/pool.h"

#include "quant/export/c/writer.h"
#include "quant/int8/pool.h"
#include "quant/rules/integers.h"

/* A multiplier for each number of places. */
static void write_multipliers(CWriter *c, const CCall *call, const MeanIntegers *integers) {
    size_t count = (size_t)integers->most + 1;
    c_array_open(c, C_INT32, call->id, "m0", count);
    for (size_t n = 0; n < count; n++) c_array_put(c, integers->multiplier[n].m0);
    c_array_close(c);
    c_array_open(c, C_UINT8, call->id, "shift", count);
    for (size_t n = 0; n < count; n++) c_array_put(c, integers->multiplier[n].shift);
    c_array_close(c);
}

static void emit(CWriter *c, const CCall *call) {
    const QNode *q = call->q;
    const MeanIntegers *integers = q->integers;
    PoolArgs pool = pool_args(q);
    char tables[2 * C_IDENTIFIER + 32] = "0, 0";
    if (!pool_divides_evenly(q->node->spec)) {
        write_multipliers(c, call, integers);
        snprintf(tables, sizeof tables, "P_%s_m0, P_%s_shift", call->id, call->id);
    }
    c_struct(c, "avgpool_t", call->id, C_WINDOW_WORDS + 2 + C_SCALE_WORDS + 2,
             "{%s, %d, %d, %s, %s}", c_window(&pool.window, pool.in, pool.out).text,
             q->node->shape.dim[0], quantizer_zero(q->in[0]),
             c_scale(q, integers->multiplier[integers->most]).text, tables);
    c_call(c, "avgpool(&P_%s_layer, %s, %s)", call->id, call->in[0], call->out);
}

const CEmitter avgpool_emitter = {
    .instr = "avgpool",
    .runtime = (const char *const[]){"round", "scale", "window", "place", "avgpool", NULL},
    .in_place = emitter_unpadded,
    .emit = emit,
};
