#include "quant/learn.h"

#include <string.h>

/* LSQ: 1 / sqrt(count qmax) makes a step of the scale, beside its size, like a step of the weights.
 */
static float lsq_gain(size_t count, float reach) {
    return 1 / sqrtf((float)count * reach);
}

/* PACT descends on alpha = reach S: dL/dalpha = dL/dS / reach, and a step of alpha is `reach` steps
 * of S. Together S -= rate (sum / reach^2) is alpha -= rate sum / reach. */
static float pact_gain(size_t count, float reach) {
    (void)count;
    return 1 / (reach * reach);
}

const Learn learn_list[] = {
    {.name = "none"},
    {.name = "lsq", .activations = true, .weights = true, .gradient = {lsq_gain, .rounding = true}},
    {.name = "pact", .activations = true, .clips = true, .gradient = {pact_gain, .decay = 1e-4f}},
    {0},
};

const Learn *learn_find(const char *name) {
    for (const Learn *learn = learn_list; learn->name; learn++)
        if (strcmp(learn->name, name) == 0) return learn;
    return NULL;
}

const char *learn_name(int index) {
    int count = (int)(sizeof learn_list / sizeof *learn_list) - 1;
    return index < count ? learn_list[index].name : NULL;
}
