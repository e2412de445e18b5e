/* conv: the integer convolution. The patch of each output position is gathered into a row of bytes (places in the
 * padding hold the zero point, N5), and a block of rows meets the weights in the integer matrix product, which
 * requantizes in the same breath. Groups are products of their own on their own channels. */
#include <string.h>

#include "nn/layers/conv.h"
#include "quant/int8/gemm.h"

enum { ROWS = 64 /* of a block: with NetBN's 360 bytes each they stay in the first-level cache */ };

typedef struct ConvArgs {
    Window window;
    int in[SPATIAL], out[SPATIAL]; /* D H W */
    int groups, channels;          /* channels of one group */
    int depth;                     /* bytes of a row: kernel places * channels, channels last */
    uint8_t zero;                  /* of the input */
    bool direct; /* kernel 1, stride 1, no padding, one group: the input is its own rows */
    const QGemm *gemm; /* [groups] */
} ConvArgs;

static bool is_direct(const ConvArgs *a) {
    Window identity = window_identity();
    identity.dilation[0] = a->window.dilation[0]; /* says nothing where the kernel is 1 */
    identity.dilation[1] = a->window.dilation[1];
    identity.dilation[2] = a->window.dilation[2];
    return a->groups == 1 && memcmp(&identity, &a->window, sizeof identity) == 0;
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
    a->direct = is_direct(a);

    int *order = arena_alloc(arena, sizeof *order * (size_t)a->depth);
    for (int p = 0; p < places; p++) /* the layer's weights have channels first, a row has them last */
        for (int c = 0; c < a->channels; c++) order[p * a->channels + c] = c * places + p;
    QGemm *gemm = arena_alloc(arena, sizeof *gemm * (size_t)a->groups);
    int outputs = spec->out / spec->groups;
    for (int g = 0; g < a->groups; g++)
        gemm[g] = gemm_operand(q, g * outputs, outputs, order, arena);
    a->gemm = gemm;
    return a;
}

/* One row along W of a patch: kernel[2] places of `channels` bytes each. `line` is the input's W line, `first` the
 * position of the first place, which may lie outside. */
static uint8_t *gather_line(const ConvArgs *a, const uint8_t *line, int first, uint8_t *row) {
    size_t pixel = (size_t)a->channels, stride = pixel * (size_t)a->groups;
    int places = a->window.kernel[2], step = a->window.dilation[2];
    if (a->groups == 1 && step == 1 && first >= 0 && first + places <= a->in[2]) {
        size_t run = pixel * (size_t)places; /* all inside and side by side: one run of bytes */
        memcpy(row, line + pixel * (size_t)first, run);
        return row + run;
    }
    for (int k = 0; k < places; k++, row += pixel) {
        int w = first + k * step;
        if (w >= 0 && w < a->in[2])
            memcpy(row, line + stride * (size_t)w, pixel);
        else
            memset(row, a->zero, pixel);
    }
    return row;
}

/* The row of output position `at` for one group; x[D][H][W][groups * channels] begins at the group's channels. */
static void gather_row(const ConvArgs *a, const uint8_t *x, int at, uint8_t *row) {
    const Window *window = &a->window;
    int origin[SPATIAL];
    for (int d = SPATIAL - 1; d >= 0; d--) {
        origin[d] = at % a->out[d] * window->stride[d] - window->padding[d];
        at /= a->out[d];
    }
    size_t line = (size_t)a->in[2] * (size_t)a->channels * (size_t)a->groups;
    size_t run = (size_t)window->kernel[2] * (size_t)a->channels;
    for (int i = 0; i < window->kernel[0]; i++)
        for (int j = 0; j < window->kernel[1]; j++) {
            int d = origin[0] + i * window->dilation[0], h = origin[1] + j * window->dilation[1];
            if (d < 0 || d >= a->in[0] || h < 0 || h >= a->in[1]) {
                memset(row, a->zero, run);
                row += run;
                continue;
            }
            row = gather_line(a, x + line * (size_t)(d * a->in[1] + h), origin[2], row);
        }
}

static size_t rows_bytes(const ConvArgs *a) {
    size_t bytes = ROWS * (size_t)a->depth;
    return (bytes + 63) / 64 * 64; /* the kernel's scratch, behind it, is aligned */
}

static size_t scratch(const Instr *instr) {
    const ConvArgs *a = instr->args;
    return rows_bytes(a) + qgemm_kernel()->scratch_bytes(&a->gemm[0]);
}

static void run_group(const ConvArgs *a, int g, const uint8_t *x, uint8_t *y, void *memory) {
    const QGemmKernel *kernel = qgemm_kernel();
    const QGemm *gemm = &a->gemm[g];
    int positions = a->out[0] * a->out[1] * a->out[2];
    size_t stride = (size_t)gemm->outputs * (size_t)a->groups;
    void *inner = (uint8_t *)memory + rows_bytes(a);
    y += (size_t)g * (size_t)gemm->outputs;
    if (a->direct) {
        kernel->run(gemm, positions, x, (size_t)a->channels, y, stride, inner);
        return;
    }
    uint8_t *rows = memory;
    for (int first = 0; first < positions; first += ROWS) {
        int count = positions - first < ROWS ? positions - first : ROWS;
        for (int r = 0; r < count; r++)
            gather_row(a, x + g * a->channels, first + r, rows + (size_t)r * (size_t)a->depth);
        kernel->run(gemm, count, rows, (size_t)a->depth, y + (size_t)first * stride, stride, inner);
    }
}

static void run(const Instr *instr, const Call *call) {
    const ConvArgs *a = instr->args;
    size_t in = instr->value[instr->in[0]].bytes, out = instr->value[instr->out].bytes;
    for (int n = 0; n < call->samples; n++)
        for (int g = 0; g < a->groups; g++)
            run_group(a, g, call->in[0] + (size_t)n * in, call->out + (size_t)n * out, call->scratch);
}

static void print(const Instr *instr, char *text, size_t size) {
    const ConvArgs *a = instr->args;
    gemm_print(&a->gemm[0], a->groups, text, size);
}

const InstrKind conv_instr = {
    .name = "conv",
    .summary = "integer convolution, grouped or not, with relu",
    .lowers = (const char *const[]){"conv2d", NULL},
    .lower = lower,
    .scratch = scratch,
    .run = run,
    .print = print,
};
