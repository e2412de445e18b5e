/* Fake quantization. Forward: y = S (q(x) - Z), a staircase. Its true derivative is 0 almost everywhere;
 * the straight-through estimator (Bengio et al. 2013) takes 1 where x is inside the range and 0 where it was
 * clamped: dL/dx = dL/dy * mask. */
#include "quant/fakequant.h"

#include <string.h>

#include "autograd/kernels/elementwise.h"

const char *const ste_names[] = {"code", "range", "none", NULL};

static void backward(const Entry *entry) {
    const float *dy = entry->out->grad;
    float *dx = entry->in[0]->grad;
    const uint8_t *mask = entry->saved;
    for (size_t i = 0; i < entry->out->count; i++) dx[i] += mask[i] ? dy[i] : 0;
}

static const Op fakequant_op = {.name = "fakequant", .backward = backward};

/* One channel's run of elements, and the bounds that decide the mask. */
typedef struct Span {
    const float *x;
    float *y;
    uint8_t *mask; /* NULL: no gradient is wanted */
    float scale, zero, qmin, qmax;
    Ste ste;
} Span;

static void fake_elements(const void *context, size_t begin, size_t end) {
    const Span *r = context;
    float scale = r->scale, zero = r->zero, qmin = r->qmin, qmax = r->qmax;
    for (size_t i = begin; i < end; i++) {
        float x = r->x[i], code = code_unclamped(x, scale, zero);
        float y = scale * (clamp_float(code, qmin, qmax) - zero);
        r->y[i] = x == x ? y : x; /* NaN must reach the loss, where training stops */
    }
    if (!r->mask) return;
    if (r->ste == STE_NONE) {
        memset(r->mask + begin, 1, end - begin);
        return;
    }
    float lo = scale * (qmin - zero), hi = scale * (qmax - zero);
    for (size_t i = begin; i < end; i++) {
        float x = r->x[i], code = code_unclamped(x, scale, zero);
        r->mask[i] = r->ste == STE_CODE ? code >= qmin && code <= qmax : x >= lo && x <= hi;
    }
}

Tensor *op_fakequant(Tape *tape, Tensor *x, const QParams *q, Ste ste) {
    CHECK(q->channels == 1 || q->channels == x->shape.dim[0], "%d scales for %d channels",
          q->channels, x->shape.dim[0]);
    Tensor *y = tape_tensor(tape, x->shape);
    uint8_t *mask = tape->recording && x->needs_grad ? arena_alloc(tape->arena, x->count) : NULL;
    size_t inner = x->count / (size_t)q->channels;
    for (int c = 0; c < q->channels; c++) {
        size_t from = (size_t)c * inner;
        Span run = {.x = x->data + from,
                    .y = y->data + from,
                    .mask = mask ? mask + from : NULL,
                    .scale = q->scale[c],
                    .zero = (float)q->zero_point[c],
                    .qmin = (float)q->qmin,
                    .qmax = (float)q->qmax,
                    .ste = ste};
        elementwise(inner, fake_elements, &run);
    }
    tape_record(tape, &fakequant_op, y, 1, (Tensor *[]){x}, mask);
    return y;
}

static void bias_backward(const Entry *entry) {
    for (size_t i = 0; i < entry->out->count; i++) entry->in[0]->grad[i] += entry->out->grad[i];
}

static const Op fakequant_bias_op = {.name = "fakequant_bias", .backward = bias_backward};

Tensor *op_fakequant_bias(Tape *tape, Tensor *bias, float input_scale, const QParams *w) {
    Tensor *y = tape_tensor(tape, bias->shape);
    for (size_t o = 0; o < bias->count; o++) {
        float b = bias->data[o], scale = w->scale[w->channels == 1 ? 0 : o];
        float code = (float)quantize_bias(b, input_scale, scale);
        y->data[o] = b == b ? input_scale * scale * code : b;
    }
    tape_record(tape, &fakequant_bias_op, y, 1, (Tensor *[]){bias}, NULL);
    return y;
}
