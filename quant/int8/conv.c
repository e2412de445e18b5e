/* conv: the integer convolution. The patch of each output position is gathered into a row of bytes
 * (places in the padding hold the zero point, N5), and a block of rows meets the weights in the
 * integer matrix product, which requantizes in the same breath. Groups are products of their own on
 * their own channels. */
#include <string.h>

#include "nn/layers/conv.h"
#include "quant/int8/gemm.h"

enum { ROWS = 64 /* of a block: with NetBN's 360 bytes each they stay in the first-level cache */ };

typedef struct ConvArgs {
    Window window;
    int in[SPATIAL], padded[SPATIAL], out[SPATIAL]; /* D H W; padded: with the padding */
    int groups, channels;                           /* channels of one group */
    int depth;         /* bytes of a row: kernel places * channels, channels last */
    int places_in_run; /* places of the kernel along W that lie side by side in the input ... */
    size_t run;        /* ... and their bytes */
    uint8_t zero;      /* of the input */
    bool is_padded;
    bool direct;       /* kernel 1, stride 1, no padding, one group: the input is its own rows */
    const QGemm *gemm; /* [groups] */
} ConvArgs;

static size_t pixel_bytes(const ConvArgs *a) {
    return (size_t)a->channels * (size_t)a->groups;
}
static size_t round_line(size_t bytes) {
    return (bytes + 63) / 64 * 64;
}

static bool is_direct(const ConvArgs *a) {
    bool direct = a->groups == 1 && !a->is_padded;
    for (int d = 0; d < SPATIAL; d++)
        direct &= a->window.kernel[d] == 1 && a->window.stride[d] == 1;
    return direct;
}

static void lay_out(ConvArgs *a) {
    for (int d = 0; d < SPATIAL; d++) {
        a->padded[d] = a->in[d] + 2 * a->window.padding[d];
        a->is_padded |= a->window.padding[d] > 0;
    }
    bool side_by_side = a->groups == 1 && a->window.dilation[2] == 1;
    a->places_in_run = side_by_side ? a->window.kernel[2] : 1;
    a->run = (size_t)a->places_in_run * (size_t)a->channels;
    a->direct = is_direct(a);
}

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    const ConvLayerSpec *spec = q->node->spec;
    Shape in = shape_batched(&q->from[0]->shape, 1), out = shape_batched(&q->node->shape, 1);
    ConvArgs *a = arena_zeros(arena, sizeof *a);
    a->window = spec->window;
    a->groups = spec->groups;
    a->channels = in.dim[1] / spec->groups;
    a->zero = (uint8_t)quantizer_zero(q->in[0]);
    window_sizes(&in, a->in);
    window_sizes(&out, a->out);
    int places = spec->window.kernel[0] * spec->window.kernel[1] * spec->window.kernel[2];
    a->depth = places * a->channels;
    lay_out(a);

    int *order = arena_alloc(arena, sizeof *order * (size_t)a->depth);
    for (int p = 0; p < places;
         p++) /* the layer's weights have channels first, a row has them last */
        for (int c = 0; c < a->channels; c++) order[p * a->channels + c] = c * places + p;
    QGemm *gemm = arena_alloc(arena, sizeof *gemm * (size_t)a->groups);
    int outputs = spec->out / spec->groups;
    for (int g = 0; g < a->groups; g++)
        gemm[g] = gemm_operand(q, g * outputs, outputs, order, arena);
    a->gemm = gemm;
    return a;
}

/* --- gathering --- */

/* Bytes of the padded input of one sample: the padding is filled once, so that no gathering asks
 * for borders. */
static size_t padded_bytes(const ConvArgs *a) {
    return (size_t)a->padded[0] * (size_t)a->padded[1] * (size_t)a->padded[2] * pixel_bytes(a);
}

static void pad(const ConvArgs *a, const uint8_t *x, uint8_t *padded) {
    const int *p = a->window.padding;
    size_t pixel = pixel_bytes(a), line = pixel * (size_t)a->in[2];
    memset(padded, a->zero, padded_bytes(a));
    for (int d = 0; d < a->in[0]; d++)
        for (int h = 0; h < a->in[1]; h++, x += line) {
            size_t at = (size_t)((d + p[0]) * a->padded[1] + h + p[1]) * (size_t)a->padded[2] +
                        (size_t)p[2];
            memcpy(padded + at * pixel, x, line);
        }
}

/* A run of a patch is a few bytes where channels are few, and a call of memcpy costs more than it
 * moves. */
static inline void copy_run(uint8_t *to, const uint8_t *from, size_t count) {
    if (count >= 32) {
        memcpy(to, from, count);
        return;
    }
    for (; count >= 8; count -= 8, to += 8, from += 8) memcpy(to, from, 8);
    if (count & 4) memcpy(to, from, 4), to += 4, from += 4;
    if (count & 2) memcpy(to, from, 2), to += 2, from += 2;
    if (count & 1) *to = *from;
}

/* Rows of `count` output positions from `first` on: the runs of one kernel place for all of them,
 * then the next. x is the padded input and begins at the group's channels. */
static void gather(const ConvArgs *a, const uint8_t *x, int first, int count, uint8_t *rows) {
    const Window *w = &a->window;
    size_t pixel = pixel_bytes(a), depth = (size_t)a->depth;
    size_t line = pixel * (size_t)a->padded[2], plane = line * (size_t)a->padded[1];
    for (int i = 0; i < w->kernel[0]; i++)
        for (int j = 0; j < w->kernel[1]; j++)
            for (int k = 0; k < w->kernel[2]; k += a->places_in_run, rows += a->run) {
                const uint8_t *place = x + (size_t)(i * w->dilation[0]) * plane +
                                       (size_t)(j * w->dilation[1]) * line +
                                       (size_t)(k * w->dilation[2]) * pixel;
                int at[SPATIAL] = {first / a->out[2] / a->out[1], first / a->out[2] % a->out[1],
                                   first % a->out[2]};
                for (int r = 0; r < count; r++) {
                    size_t origin = (size_t)(at[0] * w->stride[0]) * plane +
                                    (size_t)(at[1] * w->stride[1]) * line +
                                    (size_t)(at[2] * w->stride[2]) * pixel;
                    copy_run(rows + (size_t)r * depth, place + origin, a->run);
                    if (++at[2] < a->out[2]) continue;
                    at[2] = 0;
                    if (++at[1] < a->out[1]) continue;
                    at[1] = 0;
                    at[0]++;
                }
            }
}

/* --- running --- */

/* Scratch: the padded input, a block of rows, the kernel's own; each aligned. */
static size_t rows_offset(const ConvArgs *a) {
    return a->is_padded ? round_line(padded_bytes(a)) : 0;
}
static size_t kernel_offset(const ConvArgs *a) {
    return rows_offset(a) + round_line(ROWS * (size_t)a->depth);
}

static size_t scratch(const Instr *instr) {
    const ConvArgs *a = instr->args;
    return kernel_offset(a) + qgemm_kernel()->scratch_bytes(&a->gemm[0]);
}

static void run_group(const ConvArgs *a, const QGemmKernel *kernel, int g, const uint8_t *x,
                      uint8_t *y, uint8_t *memory) {
    const QGemm *gemm = &a->gemm[g];
    int positions = a->out[0] * a->out[1] * a->out[2];
    size_t stride = (size_t)gemm->outputs * (size_t)a->groups;
    void *own = memory + kernel_offset(a);
    x += g * a->channels;
    y += (size_t)g * (size_t)gemm->outputs;
    if (a->direct) {
        kernel->run(gemm, positions, x, (size_t)a->channels, y, stride, own);
        return;
    }
    uint8_t *rows = memory + rows_offset(a);
    for (int first = 0; first < positions; first += ROWS) {
        int count = positions - first < ROWS ? positions - first : ROWS;
        gather(a, x, first, count, rows);
        kernel->run(gemm, count, rows, (size_t)a->depth, y + (size_t)first * stride, stride, own);
    }
}

static void run(const Instr *instr, const Call *call) {
    const ConvArgs *a = instr->args;
    const QGemmKernel *kernel = qgemm_kernel();
    size_t in = instr->value[instr->in[0]].bytes, out = instr->value[instr->out].bytes;
    for (int n = 0; n < call->samples; n++) {
        const uint8_t *x = call->in[0] + (size_t)n * in;
        if (a->is_padded) {
            pad(a, x, call->scratch);
            x = call->scratch;
        }
        for (int g = 0; g < a->groups; g++)
            run_group(a, kernel, g, x, call->out + (size_t)n * out, call->scratch);
    }
}

static void print(const Instr *instr, char *text, size_t size) {
    const ConvArgs *a = instr->args;
    gemm_print(&a->gemm[0], a->groups, text, size);
}

const InstrKind conv_instr = {
    .name = "conv",
    .summary = "integer convolution, grouped or not, with relu",
    .lowers = (const char *const[]){"conv1d", "conv2d", "conv3d", NULL},
    .lower = lower,
    .scratch = scratch,
    .run = run,
    .print = print,
};
