/* linear: the integer fully connected layer; the samples of a call are the rows of one product. */
#include "quant/int8/gemm.h"

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    int depth = (int)shape_count(&q->from[0]->shape),
        *order = arena_alloc(arena, sizeof(int) * (size_t)depth);
    for (int k = 0; k < depth; k++) order[k] = k;
    QGemm *gemm = arena_alloc(arena, sizeof *gemm);
    *gemm = gemm_operand(q, 0, q->node->shape.dim[0], order, arena);
    return gemm;
}

static size_t scratch(const Instr *instr) {
    return qgemm_kernel()->scratch_bytes(instr->args);
}

static void run(const Instr *instr, const Call *call) {
    const QGemm *gemm = instr->args;
    qgemm_kernel()->run(gemm, call->samples, call->in[0], (size_t)gemm->depth, call->out,
                        (size_t)gemm->outputs, call->scratch);
}

static void print(const Instr *instr, char *text, size_t size) {
    gemm_print(instr->args, 1, text, size);
}

const InstrKind linear_instr = {
    .name = "linear",
    .summary = "integer fully connected layer, with relu",
    .lowers = (const char *const[]){"linear", NULL},
    .lower = lower,
    .scratch = scratch,
    .run = run,
    .print = print,
};
