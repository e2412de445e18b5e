/* add: inputs of different scales, brought to the output's by one multiplier each at a joint shift,
 * added in 64 bits and rounded once (N7). An input has at most 256 codes, so its products are a
 * table; the rounding constant is in the first. */
#include "quant/rules/integers.h"
#include "quant/program.h"

typedef struct AddArgs {
    int32_t shift, zero, lo, hi;
    int64_t (*product)[256]; /* [inputs]: m (u - Z) of each code u */
} AddArgs;

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    const Multiplier *multiplier = ((const SumIntegers *)q->integers)->multiplier;
    AddArgs *args = arena_alloc(arena, sizeof *args);
    *args = (AddArgs){.shift = multiplier[0].shift,
                      .zero = quantizer_zero(q->out),
                      .lo = rule_bounds(q).lo,
                      .hi = rule_bounds(q).hi};
    args->product = arena_alloc(arena, sizeof *args->product * (size_t)q->node->inputs);
    for (int k = 0; k < q->node->inputs; k++)
        for (int u = 0; u < 256; u++)
            args->product[k][u] = (int64_t)(u - quantizer_zero(q->in[k])) * multiplier[k].m0;
    for (int u = 0; u < 256; u++) args->product[0][u] += (int64_t)1 << (args->shift - 1);
    return args;
}

static void run(const Instr *instr, const Call *call) {
    const AddArgs *a = instr->args;
    size_t count = (size_t)call->samples * instr->value[instr->out].bytes;
    for (size_t i = 0; i < count; i++) {
        int64_t sum = 0;
        for (int k = 0; k < instr->inputs; k++) sum += a->product[k][call->in[k][i]];
        call->out[i] = (uint8_t)clamp_code(a->zero + (sum >> a->shift), a->lo, a->hi);
    }
}

const InstrKind add_instr = {
    .name = "add",
    .summary = "sum of two values, with relu",
    .lowers = (const char *const[]){"add", NULL},
    .lower = lower,
    .run = run,
};
