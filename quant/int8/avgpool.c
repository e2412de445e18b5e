/* avgpool: the exact sum of q - Z over the window, then one multiplier that divides and changes the
 * scale, and one rounding (N7). Places in the padding are 0 and add nothing. */
#include "quant/int8/pool.h"
#include "quant/rules/integers.h"

typedef struct AvgPoolArgs {
    PoolArgs pool;
    Multiplier multiplier;
    int32_t in_zero, zero, lo, hi;
} AvgPoolArgs;

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    AvgPoolArgs *args = arena_alloc(arena, sizeof *args);
    *args = (AvgPoolArgs){.pool = pool_args(q),
                          .multiplier = ((const MeanIntegers *)q->integers)->multiplier,
                          .in_zero = quantizer_zero(q->in[0]),
                          .zero = quantizer_zero(q->out),
                          .lo = rule_bounds(q).lo,
                          .hi = rule_bounds(q).hi};
    return args;
}

static size_t scratch(const Instr *instr) {
    return pool_scratch(&((const AvgPoolArgs *)instr->args)->pool);
}

static void mean(const Instr *instr, const PoolWindow *window, uint8_t *y) {
    const AvgPoolArgs *a = instr->args;
    for (int c = 0; c < instr->value[instr->out].channels; c++) {
        int32_t sum = -a->in_zero * window->count;
        for (int i = 0; i < window->count; i++) sum += window->place[i][c];
        y[c] = (uint8_t)requantize(sum, a->multiplier, a->zero, a->lo, a->hi);
    }
}

static void run(const Instr *instr, const Call *call) {
    pool_run(instr, &((const AvgPoolArgs *)instr->args)->pool, call, mean);
}

const InstrKind avgpool_instr = {
    .name = "avgpool",
    .summary = "rounded mean of each window, with relu",
    .lowers = (const char *const[]){"avgpool", "globalavgpool", "adaptiveavgpool", NULL},
    .lower = lower,
    .scratch = scratch,
    .run = run,
};
