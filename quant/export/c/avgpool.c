/* avgpool: window and multiplier in one struct. */
#include "quant/export/c/writer.h"
#include "quant/int8/pool.h"
#include "quant/rules/integers.h"

static void emit(CWriter *c, const CCall *call) {
    const QNode *q = call->q;
    const MeanIntegers *integers = q->integers;
    PoolArgs pool = pool_args(q);
    c_struct(c, "avgpool_t", call->id, C_WINDOW_WORDS + 2 + C_SCALE_WORDS, "{%s, %d, %d, %s}",
             c_window(&pool.window, pool.in, pool.out).text, q->node->shape.dim[0],
             quantizer_zero(q->in[0]), c_scale(q, integers->multiplier).text);
    c_call(c, "avgpool(&P_%s_layer, %s, %s)", call->id, call->in[0], call->out);
}

const CEmitter avgpool_emitter = {
    .instr = "avgpool",
    .runtime = (const char *const[]){"round", "scale", "window", "place", "avgpool", NULL},
    .in_place = emitter_unpadded,
    .emit = emit,
};
