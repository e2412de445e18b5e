#include "nn/init.h"

#include <math.h>

const char *const init_names[] = {"default", "kaiming", "xavier", NULL};

static void fill_uniform(Tensor *tensor, double bound, Rng *rng) {
    for (size_t i = 0; i < tensor->count; i++)
        tensor->data[i] = (float)(bound * (2.0 * (double)rng_uniform(rng) - 1.0));
}

void init_weights(InitKind kind, Tensor *weight, Tensor *bias, int fan_in, int fan_out, Rng *rng) {
    const double bounds[] = {
        [INIT_DEFAULT] = 1.0 / sqrt(fan_in),
        [INIT_KAIMING] = sqrt(6.0 / fan_in),
        [INIT_XAVIER] = sqrt(6.0 / ((double)fan_in + fan_out)),
    };
    fill_uniform(weight, bounds[kind], rng);
    if (bias) fill_uniform(bias, kind == INIT_DEFAULT ? bounds[kind] : 0, rng);
}
