/* add: inputs of different scales, brought to the output's by one multiplier each at a joint shift, added in 64 bits
 * and rounded once (N7). */
#include "quant/rules/integers.h"
#include "quant/program.h"

typedef struct AddArgs {
    SumIntegers sum;
    int32_t in_zero[LAYER_MAX_INPUTS], zero, lo, hi;
} AddArgs;

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    AddArgs *args = arena_alloc(arena, sizeof *args);
    *args = (AddArgs){.sum = *(const SumIntegers *)q->integers,
                      .zero = quantizer_zero(q->out),
                      .lo = rule_lowest(q),
                      .hi = quantizer_top(q->out)};
    for (int k = 0; k < q->node->inputs; k++) args->in_zero[k] = quantizer_zero(q->in[k]);
    return args;
}

static void run(const Instr *instr, const Call *call) {
    const AddArgs *a = instr->args;
    size_t count = (size_t)call->samples * instr->value[instr->out].bytes;
    for (size_t i = 0; i < count; i++) {
        int64_t sum = 0;
        for (int k = 0; k < instr->inputs; k++)
            sum += (int64_t)(call->in[k][i] - a->in_zero[k]) * a->sum.multiplier[k].m0;
        sum = a->zero + round_shift(sum, a->sum.multiplier[0].shift);
        call->out[i] = (uint8_t)clamp_code(sum, a->lo, a->hi);
    }
}

const InstrKind add_instr = {
    .name = "add",
    .summary = "sum of two values, with relu",
    .lowers = (const char *const[]){"add", NULL},
    .lower = lower,
    .run = run,
};
