/* view: sizes and steps of the result's dimensions. Views count values with channels first; bytes
 * have them last, in the input (C channels, P positions) as in the result: the result's first
 * dimension comes last, and a step to the next channel, P values, is one byte, one to the next
 * position C bytes. */
#include "nn/layers/view.h"

#include "quant/export/c/writer.h"

static void emit(CWriter *c, const CCall *call) {
    const View *view = &((const ViewSpec *)call->q->node->spec)->view;
    const Value *in = &call->instr->value[call->instr->in[0]];
    size_t C = (size_t)in->channels, P = (size_t)in->positions;
    int rank = view->shape.rank, size[MAX_RANK - 1] = {0};
    size_t step[MAX_RANK - 1] = {0};
    for (int d = 0; d < rank; d++) {
        int of = (d + 1) % rank;
        size[d] = view->shape.dim[of];
        step[d] = view->step[of] % P ? view->step[of] * C : view->step[of] / P;
    }
    c_struct(c, "view_t", call->id, 3 + 2 * (MAX_RANK - 1),
             "{%d, %zu, %zu, {%d, %d, %d, %d, %d, %d, %d}, {%zu, %zu, %zu, %zu, %zu, %zu, %zu}}",
             rank, shape_count(&view->shape), view->first % P * C + view->first / P, size[0],
             size[1], size[2], size[3], size[4], size[5], size[6], step[0], step[1], step[2],
             step[3], step[4], step[5], step[6]);
    c_call(c, "view(&P_%s_layer, %s, %s)", call->id, call->in[0], call->out);
}

const CEmitter view_emitter = {
    .instr = "view",
    .runtime = (const char *const[]){"view", NULL},
    .emit = emit,
};
