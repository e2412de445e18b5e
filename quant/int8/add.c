/* add: inputs of different scales, brought to the output's by one multiplier each at a joint shift,
 * added in 64 bits and rounded once (N7). */
#include "quant/kernels/qadd.h"
#include "quant/program.h"
#include "quant/rules/integers.h"

_Static_assert((int)LAYER_MAX_INPUTS <= (int)QADD_MAX_INPUTS, "a sum takes all inputs of a layer");

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    const Multiplier *multiplier = ((const SumIntegers *)q->integers)->multiplier;
    QAdd *args = arena_alloc(arena, sizeof *args);
    *args = (QAdd){.inputs = q->node->inputs,
                   .shift = multiplier[0].shift,
                   .zero = quantizer_zero(q->out),
                   .lo = rule_bounds(q).lo,
                   .hi = rule_bounds(q).hi};
    for (int k = 0; k < q->node->inputs; k++) {
        args->m0[k] = multiplier[k].m0;
        args->in_zero[k] = quantizer_zero(q->in[k]);
    }
    return args;
}

static void run(const Instr *instr, const Call *call) {
    size_t count = (size_t)call->samples * instr->value[instr->out].bytes;
    qadd_kernel()->run(instr->args, count, call->in, call->out);
}

const InstrKind add_instr = {
    .name = "add",
    .summary = "sum of two values, with relu",
    .lowers = (const char *const[]){"add", NULL},
    .lower = lower,
    .run = run,
};
