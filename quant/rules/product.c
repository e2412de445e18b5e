/* product: a gate. S_a (q_a - Z_a) S_b (q_b - Z_b) is one exact integer times S_a S_b, so one
 * multiplier and one rounding lead to the output's grid (N7). */
#include "autograd/kernels/elementwise.h"
#include "quant/portable.h"
#include "quant/rules/integers.h"

static bool freeze(QNode *q, Arena *arena, Error *error) {
    ProductIntegers *p = q->integers = arena_zeros(arena, sizeof *p);
    double step = (double)q->in[0]->q.scale[0] * (double)q->in[1]->q.scale[0];
    double ratio = step / (double)q->out->q.scale[0];
    return multiplier_from(ratio, &p->multiplier) ||
           error_set(error, ERROR_INPUT, "%s: a scale ratio of %g", q->node->name, ratio);
}

typedef struct Factors {
    const QNode *q;
    const float *product; /* of q - Z: at most 255^2, exact */
    float *y;
} Factors;

static void product_elements(const void *context, size_t begin, size_t end) {
    const Factors *p = context;
    const ProductIntegers *integers = p->q->integers;
    const Quantizer *out = p->q->out;
    int32_t zero = quantizer_zero(out);
    Bounds bounds = rule_bounds(p->q);
    for (size_t i = begin; i < end; i++) {
        int32_t byte =
            requantize((int32_t)p->product[i], integers->multiplier, zero, bounds.lo, bounds.hi);
        p->y[i] = out->q.scale[0] * (float)(byte - zero);
    }
}

static Tensor *exact(const Run *run, const QNode *q, Tensor *const in[]) {
    Tensor *codes[] = {rule_codes(run, q->in[0], in[0]), rule_codes(run, q->in[1], in[1])};
    Tensor *product = q->node->layer->forward(run, q->node, codes);
    Tensor *y = tape_tensor(run->tape, product->shape);
    elementwise(y->count, product_elements, &(Factors){q, product->data, y->data});
    return y;
}

const Rule product_rule = {.name = "product",
                           .owns_range = true,
                           .freeze = freeze,
                           .exact = exact,
                           .align = align_product};
