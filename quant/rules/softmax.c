/* softmax: shares of a whole. The result's grid is fixed to the steps of 2^-bits in [0, 1), so that
 * a share is one quotient of whole numbers (N7):
 *
 *   p[c] = round(2^23 exp(-S_x (largest q - q_c))),   q_y = Z_y + round(2^bits p[c] / sum of p)
 *
 * The largest input has 2^23, so the sum is never 0, and a table of as many numbers as there are
 * codes holds all p. */
#include "autograd/kernels/parallel.h"
#include "quant/rules/integers.h"

static bool freeze(QNode *q, Arena *arena, Error *error) {
    SoftmaxIntegers *s = q->integers = arena_zeros(arena, sizeof *s);
    const Quantizer *out = q->out;
    s->bits = out->spec.bits;
    if (out->q.scale[0] != ldexpf(1, -s->bits) || quantizer_zero(out) != 0) /* of a file */
        return error_set(error, ERROR_INPUT, "%s: the grid of a softmax is 2^-%d from 0 on",
                         q->node->name, s->bits);
    for (int d = 0; d <= quantizer_top(q->in[0]); d++)
        s->power[d] = (int32_t)rint(0x1p23 * exp(-(double)q->in[0]->q.scale[0] * d));
    return true;
}

typedef struct Shares {
    const QNode *q;
    const Tensor *code; /* [N, C, ...], q - Z */
    float *y;
} Shares;

static void share_chunk(void *context, int index, int worker) {
    (void)worker;
    const Shares *s = context;
    const SoftmaxIntegers *integers = s->q->integers;
    const Quantizer *out = s->q->out;
    Bounds bounds = rule_bounds(s->q);
    const Shape *shape = &s->code->shape;
    size_t sample = s->code->count / (size_t)shape->dim[0], step = sample / (size_t)shape->dim[1];
    for (int n = chunk_begin(index); n < chunk_end(index, shape->dim[0]); n++)
        for (size_t first = (size_t)n * sample; first < (size_t)n * sample + step; first++) {
            const float *x = s->code->data + first;
            float most = x[0];
            int64_t sum = 0;
            for (size_t c = 0; c < sample; c += step) most = x[c] > most ? x[c] : most;
            for (size_t c = 0; c < sample; c += step) sum += integers->power[(int)(most - x[c])];
            for (size_t c = 0; c < sample; c += step) {
                int64_t share =
                    softmax_share(integers->power[(int)(most - x[c])], sum, integers->bits);
                s->y[first + c] = out->q.scale[0] * (float)clamp_code(share, bounds.lo, bounds.hi);
            }
        }
}

static Tensor *exact(const Run *run, const QNode *q, Tensor *const in[]) {
    const Tensor *codes = rule_codes(run, q->in[0], in[0]);
    Tensor *y = tape_tensor(run->tape, in[0]->shape);
    parallel_along(chunk_count(y->shape.dim[0]), share_chunk, &(Shares){q, codes, y->data});
    return y;
}

const Rule softmax_rule = {
    .name = "softmax", .owns_range = true, .unit_range = true, .freeze = freeze, .exact = exact};
