/* maxpool: the window is all there is. */
#include "quant/export/c/writer.h"
#include "quant/int8/pool.h"

static void emit(CWriter *c, const CCall *call) {
    PoolArgs pool = pool_args(call->q);
    c_struct(c, "window_t", call->id, C_WINDOW_WORDS, "%s",
             c_window(&pool.window, pool.in, pool.out).text);
    c_call(c, "maxpool(&P_%s_layer, %d, %s, %s)", call->id, call->q->node->shape.dim[0],
           call->in[0], call->out);
}

const CEmitter maxpool_emitter = {
    .instr = "maxpool",
    .runtime = (const char *const[]){"window", "place", "maxpool", NULL},
    .in_place = emitter_unpadded,
    .emit = emit,
};
