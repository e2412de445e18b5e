/* conv_transpose: the integer transposed convolution, by gathering. Along each dimension output
 * position o meets kernel place k at input position i where
 *
 *   i stride + k dilation - padding = o
 *
 * if there is one. Where there is none - in the holes between inputs that a stride makes, and
 * outside of the input - the row holds the zero point, as padding does in a convolution (N5). So
 * each output is one exact sum, requantized once; its rows meet the weights in the same integer
 * matrix product. Groups are products of their own. */
#include <string.h>

#include "nn/layers/conv_transpose.h"
#include "quant/int8/gemm.h"

typedef struct ConvTransposeArgs {
    Window window;
    int in[SPATIAL], out[SPATIAL]; /* D H W */
    int groups, channels;          /* channels of one group */
    int depth;                     /* bytes of a row: kernel places * channels, channels last */
    uint8_t zero;                  /* of the input */
    const QGemm *gemm;             /* [groups] */
} ConvTransposeArgs;

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    const ConvTransposeLayerSpec *spec = q->node->spec;
    const ConvTransposeSpec *map = &spec->map;
    Shape in = shape_batched(&q->from[0]->shape, 1), out = shape_batched(&q->node->shape, 1);
    ConvTransposeArgs *a = arena_zeros(arena, sizeof *a);
    a->window = map->window;
    a->groups = map->groups;
    a->channels = in.dim[1] / map->groups;
    a->zero = (uint8_t)quantizer_zero(q->in[0]);
    window_sizes(&in, a->in);
    window_sizes(&out, a->out);
    int places = map->window.kernel[0] * map->window.kernel[1] * map->window.kernel[2];
    a->depth = places * a->channels;

    int *order = arena_alloc(arena, sizeof *order * (size_t)a->depth);
    for (int p = 0; p < places;
         p++) /* an output's weights have channels first, a row has them last */
        for (int c = 0; c < a->channels; c++) order[p * a->channels + c] = c * places + p;
    a->gemm = gemm_operands(q, a->groups, 1, order, arena);
    return a;
}

/* The input position along d that kernel place k brings to output position o; -1: none. */
static int source(const ConvTransposeArgs *a, int d, int o, int k) {
    int steps = o + a->window.padding[d] - k * a->window.dilation[d], stride = a->window.stride[d];
    return steps >= 0 && steps % stride == 0 && steps / stride < a->in[d] ? steps / stride : -1;
}

/* The row of output position `at` for one group; x[D][H][W][groups * channels] begins at the
 * group's channels. */
static void gather_row(const ConvTransposeArgs *a, const uint8_t *x, int at, uint8_t *row) {
    const int *kernel = a->window.kernel;
    size_t pixel = (size_t)a->channels, stride = pixel * (size_t)a->groups;
    int o[SPATIAL];
    for (int d = SPATIAL - 1; d >= 0; d--) {
        o[d] = at % a->out[d];
        at /= a->out[d];
    }
    for (int i = 0; i < kernel[0]; i++)
        for (int j = 0; j < kernel[1]; j++) {
            int d = source(a, 0, o[0], i), h = source(a, 1, o[1], j);
            bool hole = d < 0 || h < 0;
            for (int k = 0; k < kernel[2]; k++, row += pixel) {
                int w = source(a, 2, o[2], k);
                if (hole || w < 0)
                    memset(row, a->zero, pixel);
                else
                    memcpy(row, x + stride * (size_t)((d * a->in[1] + h) * a->in[2] + w), pixel);
            }
        }
}

static size_t rows_bytes(const ConvTransposeArgs *a) {
    size_t bytes = DENSE_ROWS * (size_t)a->depth + QGEMM_SLACK;
    return (bytes + 63) / 64 * 64; /* the product's scratch, behind it, is aligned */
}

static size_t scratch(const Instr *instr) {
    const ConvTransposeArgs *a = instr->args;
    return rows_bytes(a) + gemm_dense_scratch(&a->gemm[0]);
}

static void run_group(const ConvTransposeArgs *a, int g, const uint8_t *x, uint8_t *y,
                      void *memory) {
    const QGemm *gemm = &a->gemm[g];
    int positions = a->out[0] * a->out[1] * a->out[2];
    size_t depth = (size_t)a->depth, stride = (size_t)gemm->outputs * (size_t)a->groups;
    uint8_t *rows = memory;
    x += g * a->channels;
    y += (size_t)g * (size_t)gemm->outputs;
    for (int first = 0; first < positions; first += DENSE_ROWS) {
        int count = positions - first < DENSE_ROWS ? positions - first : DENSE_ROWS;
        for (int r = 0; r < count; r++) gather_row(a, x, first + r, rows + (size_t)r * depth);
        gemm_dense(gemm, count, rows, y + (size_t)first * stride, stride, rows + rows_bytes(a));
    }
}

static void run(const Instr *instr, const Call *call) {
    const ConvTransposeArgs *a = instr->args;
    size_t in = instr->value[instr->in[0]].bytes, out = instr->value[instr->out].bytes;
    for (int n = 0; n < call->samples; n++)
        for (int g = 0; g < a->groups; g++)
            run_group(a, g, call->in[0] + (size_t)n * in, call->out + (size_t)n * out,
                      call->scratch);
}

static void print(const Instr *instr, char *text, size_t size) {
    const ConvTransposeArgs *a = instr->args;
    gemm_print(&a->gemm[0], a->groups, text, size);
}

const InstrKind conv_transpose_instr = {
    .name = "conv_transpose",
    .summary = "integer transposed convolution, grouped or not, with relu",
    .lowers =
        (const char *const[]){"conv_transpose1d", "conv_transpose2d", "conv_transpose3d", NULL},
    .lower = lower,
    .scratch = scratch,
    .run = run,
    .print = print,
};
