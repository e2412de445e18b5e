/* avgpool: the exact sum of q - Z over the window, then one multiplier that divides and changes the
 * scale, and one rounding (N7). Places in the padding are 0 and add nothing; where they are left
 * out of the mean, windows of different numbers of places have each a multiplier. The codes of a
 * small window have few sums: their roundings are a table. */
#include "nn/layers/pool.h"
#include "quant/int8/pool.h"
#include "quant/rules/integers.h"

typedef struct AvgPoolArgs {
    PoolArgs pool;
    const Multiplier *multiplier; /* by divisor */
    int32_t in_zero, zero, lo, hi;
    int places;           /* of a window */
    bool even;            /* all windows divide by `places` */
    const uint8_t *table; /* the code of each sum of `places` bytes; NULL if those are too many or
                             windows differ */
} AvgPoolArgs;

enum { TABLE_PLACES = 16 };

/* Of the bytes of so many places. */
static uint8_t code_of(const AvgPoolArgs *a, int32_t bytes, int places) {
    return (uint8_t)requantize(bytes - places * a->in_zero, a->multiplier[places], a->zero, a->lo,
                               a->hi);
}

static const uint8_t *make_table(const AvgPoolArgs *a, Arena *arena) {
    uint8_t *table = arena_alloc(arena, (size_t)a->places * 255 + 1);
    for (int sum = 0; sum <= a->places * 255; sum++) table[sum] = code_of(a, sum, a->places);
    return table;
}

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    AvgPoolArgs *args = arena_alloc(arena, sizeof *args);
    *args = (AvgPoolArgs){.pool = pool_args(q),
                          .multiplier = ((const MeanIntegers *)q->integers)->multiplier,
                          .in_zero = quantizer_zero(q->in[0]),
                          .zero = quantizer_zero(q->out),
                          .lo = rule_bounds(q).lo,
                          .hi = rule_bounds(q).hi,
                          .even = pool_divides_evenly(q->node->spec)};
    const int *kernel = args->pool.window.kernel;
    args->places = kernel[0] * kernel[1] * kernel[2];
    if (args->even && args->places <= TABLE_PLACES) args->table = make_table(args, arena);
    return args;
}

static size_t scratch(const Instr *instr) {
    return pool_scratch(&((const AvgPoolArgs *)instr->args)->pool);
}

static void mean(const Instr *instr, const PoolWindow *window, uint8_t *y) {
    const AvgPoolArgs *a = instr->args;
    const uint8_t *table = a->table, *const *place = window->place;
    int channels = instr->value[instr->out].channels, count = window->count;
    int places = a->even ? a->places : count;
    int32_t padding = (places - count) * a->in_zero; /* the bytes that it would have */
    for (int c = 0; c < channels; c++) {
        int32_t sum = padding;
        for (int i = 0; i < count; i++) sum += place[i][c];
        y[c] = table ? table[sum] : code_of(a, sum, places);
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
