/* maxpool: the largest code of each window; a larger code is a larger value, so no arithmetic is
 * needed (N7). */
#include <string.h>

#include "quant/int8/pool.h"

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    PoolArgs *args = arena_alloc(arena, sizeof *args);
    *args = pool_args(q);
    return args;
}

static size_t scratch(const Instr *instr) {
    return pool_scratch(instr->args);
}

static void largest(const Instr *instr, const PoolWindow *window, uint8_t *y) {
    size_t channels = (size_t)instr->value[instr->out].channels;
    memcpy(y, window->place[0], channels); /* no window lies in the padding alone */
    for (int i = 1; i < window->count; i++) {
        const uint8_t *x = window->place[i];
        for (size_t c = 0; c < channels; c++) y[c] = x[c] > y[c] ? x[c] : y[c];
    }
}

static void run(const Instr *instr, const Call *call) {
    pool_run(instr, instr->args, call, largest);
}

const InstrKind maxpool_instr = {
    .name = "maxpool",
    .summary = "largest code of each window",
    .lowers = (const char *const[]){"maxpool", NULL},
    .lower = lower,
    .scratch = scratch,
    .run = run,
};
