#include "quant/quantizer.h"

#include <math.h>

#include "autograd/kernels/extremes.h"
#include "quant/portable.h"

Quantizer *quantizer_new(Arena *arena, const char *name, const QuantSpec *spec) {
    Quantizer *quantizer = arena_alloc(arena, sizeof *quantizer);
    *quantizer = (Quantizer){.name = name,
                             .spec = *spec,
                             .method = method_find("minmax"),
                             .percentile = 100,
                             .q = qparams_new(arena, spec, 1)};
    return quantizer;
}

void quantizer_fix(Quantizer *quantizer) {
    quantizer->q.scale[0] = ldexpf(1, -quantizer->spec.bits);
    quantizer->q.zero_point[0] = quantizer->q.qmin;
    quantizer->fixed = quantizer->ready = true;
}

void quantizer_update(Quantizer *quantizer) {
    if (quantizer->fixed) return;
    float lo, hi;
    RangeSpec spec = {quantizer->spec, quantizer->percentile};
    quantizer->method->range(&quantizer->seen, &spec, &lo, &hi);
    spec_range(&quantizer->spec, &lo, &hi);
    qparams_codes(&quantizer->q, &quantizer->spec);
    qparams_set_range(&quantizer->q, 0, quantizer->spec.symmetric, lo, hi);
    if (quantizer->align.base && quantizer->align.base->ready)
        qparams_widen(&quantizer->q, 0, quantizer->spec.symmetric, lo,
                      portable_scale(&quantizer->align, quantizer->q.scale[0]));
    quantizer->ready = true;
}

void quantizer_track(Quantizer *quantizer) {
    const QParams *q = &quantizer->q;
    float times = quantizer->spec.scale_amax > 0 ? quantizer->spec.scale_amax : 1;
    float hi = dequantize(q, 0, q->qmax) / times, lo = dequantize(q, 0, q->qmin) / times;
    quantizer->method = method_find("moving-average");
    quantizer->seen.histogram = NULL;
    quantizer->seen.average_min =
        lo > -hi || !quantizer->spec.symmetric ? lo : -hi; /* full_range has a code more */
    quantizer->seen.average_max = hi;
}

/* What has been seen becomes the grid. */
static void follow(Quantizer *quantizer) {
    if (!quantizer->method->from_histogram) quantizer_update(quantizer);
}

static Tensor *not_finite(const Quantizer *quantizer, const Run *run, Tensor *x) {
    error_set(run->error, ERROR_DIVERGED, "%s: a value is NaN or infinite", quantizer->name);
    return x;
}

Tensor *quantizer_pass(Quantizer *quantizer, const Run *run, Tensor *x, Ste ste) {
    if (quantizer->observing && !quantizer->learned) {
        if (!observer_update(&quantizer->seen, x->data, x->count))
            return not_finite(quantizer, run, x);
        follow(quantizer);
    }
    if (!quantizer->faking || quantizer->bypassed) return x;
    if (!quantizer->learned) return op_fakequant(run->tape, x, &quantizer->q, ste);
    const Learn *learn = quantizer->learn;
    return op_fakequant_learned(run->tape, x, &quantizer->q, learn->clips ? STE_CLIP : ste,
                                quantizer->learned, &learn->gradient,
                                x->count / (size_t)x->shape.dim[0]);
}

bool quantizer_joins(const Quantizer *quantizer) {
    return quantizer->faking && !quantizer->bypassed && !quantizer->learned &&
           !quantizer->seen.histogram;
}

Tensor *quantizer_pass_joined(Quantizer *quantizer, const Run *run, Tensor *x, bool relu,
                              const Window *pool, Ste ste) {
    if (quantizer->observing) {
        Extremes batch = extremes_of(x->data, x->count);
        if (!batch.finite) return not_finite(quantizer, run, op_maxpool(run->tape, x, pool));
        float least = relu ? 0 : -INFINITY;
        observer_extremes(&quantizer->seen, fmaxf(batch.lo, least), fmaxf(batch.hi, least));
        follow(quantizer);
    }
    return op_fakequant_joined(run->tape, x, &quantizer->q, ste, relu, pool);
}
