/* Stochastic gradient descent with momentum m and weight decay, as PyTorch defines it (the rate is
 * outside the momentum, unlike Sutskever et al. 2013):
 *
 *   d = g + decay w                 the decay is the gradient of decay |w|^2 / 2
 *   b = m b + d                     b = 0 before the first step
 *   w = w - rate (nesterov ? d + m b : b) */
#include "autograd/kernels/vector.h"
#include "optim/optim.h"

VECTOR static void sgd_step(const OptimizerStep *step, size_t count, float *w, const float *g,
                            float *const memory[]) {
    float *restrict b = memory[0];
    const OptimizerSpec *spec = step->spec;
    const float m = (float)spec->momentum, decay = (float)spec->weight_decay;
    const float rate = (float)step->rate;
    const bool nesterov = spec->nesterov;
    for (size_t i = 0; i < count; i++) {
        float d = g[i] + decay * w[i];
        b[i] = m * b[i] + d;
        w[i] -= rate * (nesterov ? d + m * b[i] : b[i]);
    }
}

const OptimizerRule sgd_rule = {
    .name = "sgd",
    .rate = 0.02,
    .nesterov = true,
    .memories = 1,
    .memory = {"momentum_buffer"},
    .step = sgd_step,
};
