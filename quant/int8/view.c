/* view: codes of the input at other places (transpose, slice). Views count values with channels
 * first; bytes have them last, so a value that is number i of C channels and P positions is byte
 * (i mod P) C + i / P. */
#include "nn/layers/view.h"
#include "quant/int8/gemm.h"
#include "quant/program.h"

typedef struct ViewArgs {
    const int *from; /* [bytes]: where each byte of the result was */
    size_t in_bytes;
} ViewArgs;

static size_t byte_of(const Shape *shape, size_t i) {
    size_t channels = (size_t)shape->dim[0], places = shape_count(shape) / channels;
    return i % places * channels + i / places;
}

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    const Shape *in = &q->from[0]->shape, *out = &q->node->shape;
    const View *view = &((const ViewSpec *)q->node->spec)->view;
    ViewArgs *args = arena_alloc(arena, sizeof *args);
    size_t count = shape_count(out);
    int *from = arena_alloc(arena, sizeof *from * count);
    for (size_t i = 0; i < count; i++) from[byte_of(out, i)] = (int)byte_of(in, view_at(view, i));
    *args = (ViewArgs){from, shape_count(in)};
    return args;
}

/* In front of a fully connected layer the weights can move instead, once, if each value is read. */
static bool fuse(Instr *instr, const Instr *next, Arena *arena) {
    const ViewArgs *a = instr->args;
    if (next->kind != &linear_instr || instr->value[instr->out].bytes != a->in_bytes) return false;
    instr->kind = next->kind;
    instr->args = gemm_permuted(next->args, a->from, arena);
    return true;
}

static void run(const Instr *instr, const Call *call) {
    const ViewArgs *a = instr->args;
    size_t bytes = instr->value[instr->out].bytes;
    const uint8_t *x = call->in[0];
    uint8_t *y = call->out;
    for (int n = 0; n < call->samples; n++, x += a->in_bytes, y += bytes)
        for (size_t i = 0; i < bytes; i++) y[i] = x[a->from[i]];
}

const InstrKind view_instr = {
    .name = "view",
    .summary = "values of the input at other places",
    .rule = "view",
    .lower = lower,
    .fuse = fuse,
    .run = run,
};
