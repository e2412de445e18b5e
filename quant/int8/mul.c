/* mul: the exact product of q - Z of two inputs, one multiplier, one rounding (N7). */
#include "quant/program.h"
#include "quant/rules/integers.h"

typedef struct MulArgs {
    Multiplier multiplier;
    int32_t in_zero[2], zero;
    Bounds bounds;
} MulArgs;

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    MulArgs *args = arena_alloc(arena, sizeof *args);
    *args = (MulArgs){.multiplier = ((const ProductIntegers *)q->integers)->multiplier,
                      .in_zero = {quantizer_zero(q->in[0]), quantizer_zero(q->in[1])},
                      .zero = quantizer_zero(q->out),
                      .bounds = rule_bounds(q)};
    return args;
}

static void run(const Instr *instr, const Call *call) {
    const MulArgs *a = instr->args;
    const uint8_t *left = call->in[0], *right = call->in[1];
    size_t count = (size_t)call->samples * instr->value[instr->out].bytes;
    for (size_t i = 0; i < count; i++) {
        int32_t product = (left[i] - a->in_zero[0]) * (right[i] - a->in_zero[1]);
        call->out[i] =
            (uint8_t)requantize(product, a->multiplier, a->zero, a->bounds.lo, a->bounds.hi);
    }
}

const InstrKind mul_instr = {
    .name = "mul",
    .summary = "product of two values, with relu",
    .lowers = (const char *const[]){"mul", NULL},
    .lower = lower,
    .run = run,
};
