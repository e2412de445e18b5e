/* reshape: the graph's order of values, which stays, has channels first; bytes have them last.
 * Value i is byte
 *
 *     (i mod P) C + i / P          of C channels and P positions,
 *
 * before and after: a permutation. Where the number of channels stays, nothing moves; in front of a
 * fully connected layer the weights can move instead, once. */
#include "quant/int8/gemm.h"
#include "quant/program.h"

typedef struct ReshapeArgs {
    const int *from; /* [bytes]: where each byte of the result was */
} ReshapeArgs;

static bool identity(const QNode *q) {
    const Shape *out = &q->node->shape;
    return out->dim[0] == q->from[0]->shape.dim[0];
}

static const void *lower(const QNode *q, Arena *arena, Error *error) {
    (void)error;
    const Shape *in = &q->from[0]->shape, *out = &q->node->shape;
    size_t count = shape_count(in), channels = (size_t)in->dim[0], places = count / channels;
    size_t out_channels = (size_t)out->dim[0], out_places = count / out_channels;
    ReshapeArgs *args = arena_alloc(arena, sizeof *args);
    int *from = arena_alloc(arena, sizeof *from * count);
    for (size_t i = 0; i < count; i++)
        from[i % out_places * out_channels + i / out_places] =
            (int)(i % places * channels + i / places);
    args->from = from;
    return args;
}

static bool fuse(Instr *instr, const Instr *next, Arena *arena) {
    if (next->kind != &linear_instr) return false;
    const ReshapeArgs *a = instr->args;
    instr->kind = next->kind;
    instr->args = gemm_permuted(next->args, a->from, arena);
    return true;
}

static void run(const Instr *instr, const Call *call) {
    const ReshapeArgs *a = instr->args;
    size_t bytes = instr->value[instr->out].bytes;
    const uint8_t *x = call->in[0];
    uint8_t *y = call->out;
    for (int n = 0; n < call->samples; n++, x += bytes, y += bytes)
        for (size_t i = 0; i < bytes; i++) y[i] = x[a->from[i]];
}

const InstrKind reshape_instr = {
    .name = "reshape",
    .summary = "the same values in another order of bytes",
    .lowers = (const char *const[]){"flatten", "reshape", NULL},
    .lower = lower,
    .identity = identity,
    .fuse = fuse,
    .run = run,
};
