#include "quant/quantizer.h"

Quantizer *quantizer_new(Arena *arena, const char *name, const QuantSpec *spec,
                         const ObserverKind *observer) {
    Quantizer *quantizer = arena_zeros(arena, sizeof *quantizer);
    *quantizer = (Quantizer){.name = name,
                             .spec = *spec,
                             .observer = observer_new(arena, observer, 1),
                             .q = qparams_new(arena, spec, 1)};
    return quantizer;
}

void quantizer_update(Quantizer *quantizer) {
    const Observer *seen = quantizer->observer;
    qparams_set_range(&quantizer->q, 0, quantizer->spec.symmetric, seen->min[0], seen->max[0]);
    quantizer->ready = true;
}

Tensor *quantizer_pass(Quantizer *quantizer, const Run *run, Tensor *x, Ste ste) {
    if (quantizer->observing) {
        if (!observer_update(quantizer->observer, x->data, x->count)) {
            error_set(run->error, ERROR_DIVERGED, "%s: a value is NaN or infinite",
                      quantizer->name);
            return x;
        }
        quantizer_update(quantizer);
    }
    return quantizer->faking ? op_fakequant(run->tape, x, &quantizer->q, ste) : x;
}
