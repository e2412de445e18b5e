/* reshape: the graph's order of values, which stays, has channels first; bytes have them last.
 * Value i is byte
 *
 *     (i mod P) C + i / P          of C channels and P positions,
 *
 * before and after: a permutation. Where the number of channels stays, nothing moves. */
#include "quant/program.h"

typedef struct ReshapeArgs {
    int channels, positions; /* of the input */
} ReshapeArgs;

static bool identity(const QNode *q) {
    const Shape *out = &q->node->shape;
    return out->dim[0] == q->from[0]->shape.dim[0];
}

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    const Shape *in = &q->from[0]->shape;
    ReshapeArgs *args = arena_alloc(arena, sizeof *args);
    *args = (ReshapeArgs){in->dim[0], (int)(shape_count(in) / (size_t)in->dim[0])};
    return args;
}

static void run(const Instr *instr, const Call *call) {
    const ReshapeArgs *a = instr->args;
    const Value *out = &instr->value[instr->out];
    const uint8_t *x = call->in[0];
    uint8_t *y = call->out;
    for (int n = 0; n < call->samples; n++, x += out->bytes, y += out->bytes) {
        size_t to = 0; /* of value i = c P + p */
        int filled = 0, channel = 0;
        for (int c = 0; c < a->channels; c++)
            for (int p = 0; p < a->positions; p++) {
                y[to] = x[p * a->channels + c];
                to += (size_t)out->channels;
                if (++filled < out->positions) continue;
                filled = 0;
                to = (size_t)++channel;
            }
    }
}

const InstrKind reshape_instr = {
    .name = "reshape",
    .summary = "the same values in another order of bytes",
    .lowers = (const char *const[]){"flatten", "reshape", NULL},
    .lower = lower,
    .identity = identity,
    .run = run,
};
