/* conv: the integer convolution. The patch of an output position is a few runs of bytes of the
 * input, channels last; rows of the integer matrix product are such runs where they lie, so that no
 * patch is copied. Only what has padding is copied once, with the zero point around it (N5), or
 * what the kernel wants wider than bytes. Groups are products of their own on their own channels,
 * but those of one channel and one output go together, depthwise. A max-pool that follows may be
 * taken of the sums (QGemm's pool). */
#include <string.h>

#include "nn/layers/conv.h"
#include "quant/int8/gemm.h"
#include "quant/int8/pool.h"

typedef struct ConvArgs {
    Window window;
    int in[SPATIAL], padded[SPATIAL], out[SPATIAL]; /* D H W; padded: with the padding */
    int groups, channels;                           /* channels of one group */
    uint8_t zero;                                   /* of the input */
    bool is_padded;
    int rows, pool;    /* output positions, `pool` of them for one result */
    const size_t *row; /* [rows] where their patches begin in the padded input ... */
    const size_t *run; /* [runs] ... and where their runs do, from there; in elements */
    const QGemm *gemm; /* [groups], or NULL and: */
    const QDepthwise *depthwise;
} ConvArgs;

enum { PLACES = 64 /* in one call of the depthwise kernel */ };

static size_t element(const ConvArgs *a) {
    return a->gemm ? a->gemm->kernel->element : 1;
}

static size_t pixel(const ConvArgs *a) {
    return (size_t)a->channels * (size_t)a->groups;
}
/* Element at which a place of the padded input begins. */
static size_t place(const ConvArgs *a, int d, int h, int w) {
    return (((size_t)d * (size_t)a->padded[1] + (size_t)h) * (size_t)a->padded[2] + (size_t)w) *
           pixel(a);
}

/* The patch of an output position. */
static size_t patch(const ConvArgs *a, int d, int h, int w) {
    const int *stride = a->window.stride;
    return place(a, d * stride[0], h * stride[1], w * stride[2]);
}

/* Places of the kernel along W that lie side by side in the input are one run. */
static int places_in_run(const ConvArgs *a) {
    return a->groups == 1 && a->window.dilation[2] == 1 ? a->window.kernel[2] : 1;
}

static int lay_out_runs(ConvArgs *a, Arena *arena) {
    const int *kernel = a->window.kernel, *dilation = a->window.dilation;
    int step = places_in_run(a), runs = 0;
    size_t *run =
        arena_alloc(arena, sizeof *run * (size_t)(kernel[0] * kernel[1] * (kernel[2] / step)));
    for (int i = 0; i < kernel[0]; i++)
        for (int j = 0; j < kernel[1]; j++)
            for (int k = 0; k < kernel[2]; k += step)
                run[runs++] = place(a, i * dilation[0], j * dilation[1], k * dilation[2]);
    a->run = run;
    return runs;
}

static void lay_out_rows(ConvArgs *a, Arena *arena) {
    a->pool = 1;
    a->rows = a->out[0] * a->out[1] * a->out[2];
    size_t *row = arena_alloc(arena, sizeof *row * (size_t)a->rows);
    a->row = row;
    for (int d = 0; d < a->out[0]; d++)
        for (int h = 0; h < a->out[1]; h++)
            for (int w = 0; w < a->out[2]; w++) *row++ = patch(a, d, h, w);
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
    for (int d = 0; d < SPATIAL; d++)
        a->padded[d] = a->in[d] + a->window.padding[d] + window_padding_end(&a->window, d);
    a->is_padded = window_padded(&a->window);
    lay_out_rows(a, arena);
    int runs = lay_out_runs(a, arena);

    const int *kernel = spec->window.kernel;
    int places = kernel[0] * kernel[1] * kernel[2];
    int *order = arena_alloc(arena, sizeof *order * (size_t)(places * a->channels));
    for (int p = 0; p < places;
         p++) /* the layer's weights have channels first, a row has them last */
        for (int c = 0; c < a->channels; c++) order[p * a->channels + c] = c * places + p;
    if (a->groups > 1 && a->channels == 1 && spec->out == a->groups)
        a->depthwise = depthwise_operand(q, places, order, arena);
    else
        a->gemm = gemm_operands(q, a->groups, runs, order, arena);
    return a;
}

/* Takes in a max-pool whose windows do not overlap: positions then come window by window, and what
 * no window covers is not computed. */
static bool fuse(Instr *instr, const Instr *next, Arena *arena) {
    if (next->kind != &maxpool_instr || ((const ConvArgs *)instr->args)->depthwise) return false;
    const PoolArgs *pool = next->args;
    const Window *w = &pool->window;
    int places = w->kernel[0] * w->kernel[1] * w->kernel[2];
    bool apart = places <= QGEMM_MAX_POOL && !window_padded(w);
    for (int d = 0; d < SPATIAL; d++) apart &= w->stride[d] >= w->kernel[d] && w->dilation[d] == 1;
    if (!apart) return false;

    ConvArgs *a = arena_alloc(arena, sizeof *a);
    *a = *(const ConvArgs *)instr->args;
    a->pool = places;
    a->rows = pool->out[0] * pool->out[1] * pool->out[2] * places;
    size_t *row = arena_alloc(arena, sizeof *row * (size_t)a->rows);
    a->row = row;
    for (int p = 0; p < a->rows;
         p++) { /* position of the pool's result, then place in its window */
        int at[SPATIAL], i = p % places, o = p / places;
        for (int d = SPATIAL - 1; d >= 0; d--) {
            at[d] = o % pool->out[d] * w->stride[d] + i % w->kernel[d];
            o /= pool->out[d];
            i /= w->kernel[d];
        }
        *row++ = patch(a, at[0], at[1], at[2]);
    }
    instr->args = a;
    return true;
}

/* --- running --- */

static size_t padded_elements(const ConvArgs *a) {
    return place(a, a->padded[0], 0, 0);
}
/* Whether rows cannot be runs of the input as it is. */
static bool copies(const ConvArgs *a) {
    return a->is_padded || element(a) > 1;
}

/* Scratch: the copy, then the places that a call of the depthwise kernel sees. */
static size_t copy_bytes(const ConvArgs *a) {
    size_t bytes = copies(a) ? size_mul(padded_elements(a) + QGEMM_SLACK, element(a)) : 0;
    return (bytes + 63) / 64 * 64;
}

static size_t scratch(const Instr *instr) {
    const ConvArgs *a = instr->args;
    size_t taps = a->depthwise ? (size_t)a->depthwise->taps : 0;
    return copy_bytes(a) + PLACES * taps * sizeof(const uint8_t *);
}

/* The zero point everywhere: the samples of a call are then copied into its middle. */
static void fill_padding(const ConvArgs *a, void *padded) {
    size_t count = padded_elements(a);
    uint16_t *wide = padded;
    if (element(a) == 1) memset(padded, a->zero, count);
    for (size_t i = 0; element(a) > 1 && i < count; i++) wide[i] = a->zero;
}

static void copy_sample(const ConvArgs *a, const uint8_t *x, uint8_t *padded) {
    const int *p = a->window.padding;
    size_t line = pixel(a) * (size_t)a->in[2];
    if (!a->is_padded) {
        gemm_elements(element(a), x, padded_elements(a), padded);
        return;
    }
    for (int d = 0; d < a->in[0]; d++)
        for (int h = 0; h < a->in[1]; h++, x += line) {
            size_t at = place(a, d + p[0], h + p[1], p[2]);
            gemm_elements(element(a), x, line, padded + at * element(a));
        }
}

static void run_groups(const ConvArgs *a, const uint8_t *x, uint8_t *y) {
    size_t outputs = (size_t)a->gemm->outputs, stride = outputs * (size_t)a->groups;
    for (int g = 0; g < a->groups; g++) {
        QRows rows = {x + (size_t)(g * a->channels) * element(a), a->row, a->run};
        a->gemm->kernel->run(&a->gemm[g], &rows, a->rows, a->pool, y + (size_t)g * outputs, stride);
    }
}

static void run_depthwise(const ConvArgs *a, const uint8_t *x, uint8_t *y, const uint8_t **at) {
    const QDepthwise *q = a->depthwise;
    size_t stride = (size_t)q->channels;
    for (int first = 0; first < a->rows; first += PLACES) {
        int count = a->rows - first < PLACES ? a->rows - first : PLACES;
        for (int r = 0; r < count; r++)
            for (int t = 0; t < q->taps; t++)
                at[r * q->taps + t] = x + a->row[first + r] + a->run[t];
        qdepthwise_kernel()->run(q, count, at, y + (size_t)first * stride, stride);
    }
}

static void run(const Instr *instr, const Call *call) {
    const ConvArgs *a = instr->args;
    uint8_t *copy = call->scratch, *y = call->out;
    const uint8_t *x = call->in[0];
    if (a->is_padded) fill_padding(a, copy);
    for (int n = 0; n < call->samples; n++) {
        if (copies(a)) copy_sample(a, x, copy);
        const uint8_t *plane = copies(a) ? copy : x;
        if (a->gemm)
            run_groups(a, plane, y);
        else
            run_depthwise(a, plane, y, (const uint8_t **)(void *)(copy + copy_bytes(a)));
        x += instr->value[instr->in[0]].bytes;
        y += instr->value[instr->out].bytes;
    }
}

static void print(const Instr *instr, char *text, size_t size) {
    const ConvArgs *a = instr->args;
    if (a->gemm)
        gemm_print(a->gemm, a->groups, text, size);
    else
        gemm_print(&(QGemm){1, 1, a->depthwise->taps, .multiplier = a->depthwise->multiplier,
                            .zero = a->depthwise->zero, .lo = a->depthwise->lo},
                   a->groups, text, size);
}

const InstrKind conv_instr = {
    .name = "conv",
    .summary = "integer convolution, grouped or not, with relu",
    .lowers = (const char *const[]){"conv1d", "conv2d", "conv3d", NULL},
    .lower = lower,
    .fuse = fuse,
    .scratch = scratch,
    .run = run,
    .print = print,
};
