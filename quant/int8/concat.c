/* concat: each input's codes are brought to the output's grid, one rounding each (N7). An input has
 * at most 256 codes, so that is a table; channels lie last, so each position takes a run of bytes
 * from each input. */
#include "quant/program.h"
#include "quant/rules/integers.h"

typedef struct Branch {
    int channels;
    uint8_t table[256]; /* the output's code of each of this input's */
} Branch;

static Branch branch_of(const QNode *q, int k) {
    const ConcatIntegers *integers = q->integers;
    Bounds bounds = rule_bounds(q);
    Branch branch = {.channels = q->from[k]->shape.dim[0]};
    for (int u = 0; u < 256; u++)
        branch.table[u] = (uint8_t)requantize(u - quantizer_zero(q->in[k]), integers->multiplier[k],
                                              quantizer_zero(q->out), bounds.lo, bounds.hi);
    return branch;
}

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    Branch *branches = arena_alloc(arena, sizeof *branches * (size_t)q->node->inputs);
    for (int k = 0; k < q->node->inputs; k++) branches[k] = branch_of(q, k);
    return branches;
}

static void run(const Instr *instr, const Call *call) {
    const Branch *branches = instr->args;
    const Value *out = &instr->value[instr->out];
    size_t places = (size_t)call->samples * (size_t)out->positions;
    for (int k = 0, first = 0; k < instr->inputs; first += branches[k++].channels) {
        const uint8_t *x = call->in[k];
        uint8_t *y = call->out + first;
        for (size_t p = 0; p < places; p++, x += branches[k].channels, y += out->channels)
            for (int c = 0; c < branches[k].channels; c++) y[c] = branches[k].table[x[c]];
    }
}

const InstrKind concat_instr = {
    .name = "concat",
    .summary = "channels of several values, each by a table, with relu",
    .lowers = (const char *const[]){"concat", NULL},
    .lower = lower,
    .run = run,
};
