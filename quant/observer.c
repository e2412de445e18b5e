#include "quant/observer.h"

#include <string.h>

#include "autograd/tensor.h"

#define OBSERVER(name) extern const ObserverKind name##_observer;
#include "quant/observers.def"
#undef OBSERVER

const ObserverKind *const observer_list[] = {
#define OBSERVER(name) &name##_observer,
#include "quant/observers.def"
#undef OBSERVER
    NULL,
};

const ObserverKind *observer_find(const char *name) {
    for (int i = 0; observer_list[i]; i++)
        if (strcmp(observer_list[i]->name, name) == 0) return observer_list[i];
    return NULL;
}

Observer *observer_new(Arena *arena, const ObserverKind *kind, int channels) {
    Observer *observer = arena_zeros(arena, sizeof *observer);
    *observer = (Observer){.kind = kind, .channels = channels};
    observer->min = arena_zeros(arena, sizeof(float) * (size_t)channels);
    observer->max = arena_zeros(arena, sizeof(float) * (size_t)channels);
    return observer;
}

bool observer_update(Observer *observer, const float *x, size_t count) {
    if (!floats_finite(x, count * (size_t)observer->channels)) return false;
    for (int c = 0; c < observer->channels; c++) {
        const float *row = x + (size_t)c * count;
        float lo = row[0], hi = row[0];
        for (size_t i = 1; i < count; i++) {
            lo = row[i] < lo ? row[i] : lo;
            hi = row[i] > hi ? row[i] : hi;
        }
        observer->kind->update(observer, c, lo, hi);
    }
    observer->batches++;
    return true;
}
