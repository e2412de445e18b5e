/* Observer: sees floats, reports a range; nothing else.
 *
 * To add an observer: quant/observers/NAME.c with `const ObserverKind NAME_observer` and the line
 * OBSERVER(NAME) in quant/observers.def. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "autograd/arena.h"
#include "autograd/error.h"

typedef struct Observer Observer;

typedef struct ObserverKind {
    const char *name, *summary; /* name as in --method */
    /* Takes in a batch's extremes of channel c, both finite. */
    void (*update)(Observer *observer, int c, float lo, float hi);
} ObserverKind;

struct Observer {
    const ObserverKind *kind;
    int channels;
    float *min, *max; /* [channels]: the range so far; it starts at 0, 0 */
    uint64_t batches; /* seen so far */
};

extern const ObserverKind *const observer_list[]; /* ends with NULL */
const ObserverKind *observer_find(const char *name);

/* An observer that has seen nothing; owned by the arena. */
Observer *observer_new(Arena *arena, const ObserverKind *kind, int channels);

/* Shows it a batch: x[channels][count]. False if a value is NaN or infinite: the observer is as before. */
bool observer_update(Observer *observer, const float *x, size_t count);
