/* linear: the integer fully connected layer; the samples of a call are the rows of one product. */
#include "quant/int8/gemm.h"

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    int depth = (int)shape_count(&q->from[0]->shape),
        *order = arena_alloc(arena, sizeof(int) * (size_t)depth);
    for (int k = 0; k < depth; k++) order[k] = k;
    return gemm_operands(q, 1, 1, order, arena);
}

static size_t scratch(const Instr *instr) {
    return gemm_dense_scratch(instr->args);
}

static void run(const Instr *instr, const Call *call) {
    const QGemm *gemm = instr->args;
    size_t run = (size_t)gemm->run, outputs = (size_t)gemm->outputs;
    for (int n = 0; n < call->samples; n += DENSE_ROWS) {
        int rows = call->samples - n < DENSE_ROWS ? call->samples - n : DENSE_ROWS;
        gemm_dense(gemm, rows, call->in[0] + (size_t)n * run, call->out + (size_t)n * outputs,
                   outputs, call->scratch);
    }
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
