/* softmax: powers of e by a table of whole numbers, an exact sum, one rounded division for each
 * code (N7). */
#include "quant/program.h"
#include "quant/rules/integers.h"

typedef struct SoftmaxArgs {
    SoftmaxIntegers integers;
    int channels;
    int32_t zero;
    Bounds bounds;
} SoftmaxArgs;

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    SoftmaxArgs *args = arena_alloc(arena, sizeof *args);
    *args = (SoftmaxArgs){.integers = *(const SoftmaxIntegers *)q->integers,
                          .channels = q->node->shape.dim[0],
                          .zero = quantizer_zero(q->out),
                          .bounds = rule_bounds(q)};
    return args;
}

/* One position: x and y hold its channels. */
static void shares(const SoftmaxArgs *a, const uint8_t *x, uint8_t *y) {
    const int32_t *power = a->integers.power;
    uint8_t most = 0;
    int64_t sum = 0;
    for (int c = 0; c < a->channels; c++) most = x[c] > most ? x[c] : most;
    for (int c = 0; c < a->channels; c++) sum += power[most - x[c]];
    for (int c = 0; c < a->channels; c++) {
        int64_t share = softmax_share(power[most - x[c]], sum, a->integers.bits);
        y[c] = (uint8_t)clamp_code(a->zero + share, a->bounds.lo, a->bounds.hi);
    }
}

static void run(const Instr *instr, const Call *call) {
    const SoftmaxArgs *a = instr->args;
    size_t places = (size_t)call->samples * (size_t)instr->value[instr->out].positions;
    for (size_t p = 0; p < places; p++)
        shares(a, call->in[0] + p * (size_t)a->channels, call->out + p * (size_t)a->channels);
}

const InstrKind softmax_instr = {
    .name = "softmax",
    .summary = "softmax over the channels, by a table and a division",
    .rule = "softmax",
    .lower = lower,
    .run = run,
};
