/* flatten: the graph's flat order has channels first, values have them last, so this is a transposition. */
#include "quant/program.h"

static bool identity(const QNode *q) {
    return shape_count(&q->node->shape) == (size_t)q->from[0]->shape.dim[0]; /* one position */
}

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)q, (void)error;
    return arena_alloc(arena, 0); /* no constants */
}

static void run(const Instr *instr, const Call *call) {
    const Value *in = &instr->value[instr->in[0]];
    size_t channels = (size_t)in->channels, positions = (size_t)in->positions;
    for (int n = 0; n < call->samples; n++) {
        const uint8_t *x = call->in[0] + (size_t)n * in->bytes;
        uint8_t *y = call->out + (size_t)n * in->bytes;
        for (size_t c = 0; c < channels; c++)
            for (size_t p = 0; p < positions; p++) y[c * positions + p] = x[p * channels + c];
    }
}

const InstrKind flatten_instr = {
    .name = "flatten",
    .summary = "channels last to one dimension",
    .lowers = (const char *const[]){"flatten", NULL},
    .lower = lower,
    .identity = identity,
    .run = run,
};
