/* batchnorm: one that stands alone, as a depthwise convolution whose kernel has one place: for each
 * channel acc = (q_x - Z_x) q_w + q_b, then N6. */
#include "quant/int8/gemm.h"

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    return depthwise_operand(q, 1, (const int[]){0}, arena);
}

enum { PLACES = 64 /* in one call of the kernel */ };

static size_t scratch(const Instr *instr) {
    (void)instr;
    return PLACES * sizeof(const uint8_t *);
}

static void run(const Instr *instr, const Call *call) {
    const QDepthwise *depthwise = instr->args;
    const uint8_t **place = call->scratch;
    size_t channels = (size_t)depthwise->channels;
    int places = call->samples * instr->value[instr->out].positions;
    for (int first = 0; first < places; first += PLACES) {
        int count = places - first < PLACES ? places - first : PLACES;
        for (int i = 0; i < count; i++) place[i] = call->in[0] + (size_t)(first + i) * channels;
        qdepthwise_kernel()->run(depthwise, count, place, call->out + (size_t)first * channels,
                                 channels);
    }
}

const InstrKind batchnorm_instr = {
    .name = "batchnorm",
    .summary = "a factor and a summand for each channel, with relu",
    .lowers = (const char *const[]){"batchnorm", NULL},
    .lower = lower,
    .scratch = scratch,
    .run = run,
};
