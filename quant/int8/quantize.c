/* quantize: pixels to codes. A pixel is a byte, so normalisation and N1 together are one table of
 * 256 codes a channel, made with the loader's own normalize_byte. Channels first becomes channels
 * last. */
#include "quant/int8/quantize.h"

#include "autograd/normalize.h"

typedef struct QuantizeArgs {
    const uint8_t (*table)[256]; /* [channels] */
} QuantizeArgs;

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    QuantizeArgs *args = arena_alloc(arena, sizeof *args);
    args->table = arena_zeros(arena, 256 * (size_t)q->node->shape.dim[0]);
    return args;
}

uint8_t quantize_pixel(const Normalization *pixels, const QParams *grid, int c, uint8_t p) {
    float x = normalize_byte(p, pixels->mean[c], pixels->std[c]);
    return (uint8_t)(quantize(grid, 0, x) - grid->qmin);
}

void quantize_table(Instr *instr, const Normalization *pixels, const QParams *grid) {
    uint8_t(*table)[256] = (uint8_t(*)[256])((const QuantizeArgs *)instr->args)->table;
    CHECK(pixels->channels == instr->value[instr->out].channels, "%d channels of pixels",
          pixels->channels);
    for (int c = 0; c < pixels->channels; c++)
        for (int p = 0; p < 256; p++) table[c][p] = quantize_pixel(pixels, grid, c, (uint8_t)p);
}

static void run(const Instr *instr, const Call *call) {
    const QuantizeArgs *args = instr->args;
    const Value *out = &instr->value[instr->out];
    size_t channels = (size_t)out->channels, positions = (size_t)out->positions;
    for (int n = 0; n < call->samples; n++) {
        const uint8_t *x = call->in[0] + (size_t)n * out->bytes;
        uint8_t *y = call->out + (size_t)n * out->bytes;
        for (size_t c = 0; c < channels; c++)
            for (size_t p = 0; p < positions; p++)
                y[p * channels + c] = args->table[c][x[c * positions + p]];
    }
}

const InstrKind quantize_instr = {
    .name = "quantize",
    .summary = "pixels to codes, by a table",
    .lowers = (const char *const[]){"input", NULL},
    .lower = lower,
    .run = run,
};
