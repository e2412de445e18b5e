/* quantize: no call of P_run, whose input are codes; the table of P_codes_from_bytes. */
#include "quant/export/c/writer.h"
#include "quant/int8/quantize.h"

static void emit(CWriter *c, const CCall *call) {
    const Normalization *pixels = c->pixels;
    int channels = pixels->channels;
    c_array_open(c, C_UINT8, "pixel", "code", 256 * (size_t)channels);
    for (int k = 0; k < channels; k++)
        for (int p = 0; p < 256; p++)
            c_array_put(c, quantize_pixel(pixels, &call->q->out->q, k, (uint8_t)p));
    c_array_close(c);
}

const CEmitter quantize_emitter = {
    .instr = "quantize",
    .runtime = (const char *const[]){NULL},
    .emit = emit,
};
