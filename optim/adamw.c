/* Adam (Kingma, Ba 2015) with decoupled weight decay (Loshchilov, Hutter 2019), as PyTorch's AdamW;
 * without decay it is Adam. In step t = 1, 2, ...:
 *
 *   w = w - rate decay w
 *   m = beta1 m + (1 - beta1) g          moving averages of the gradient and of its square,
 *   v = beta2 v + (1 - beta2) g^2        which begin with zeros:
 *   w = w - rate m' / (sqrt(v') + eps)   m' = m / (1 - beta1^t), v' = v / (1 - beta2^t)
 *
 * Every parameter moves by about the rate, however large its gradient is. */
#include <math.h>

#include "autograd/kernels/vector.h"
#include "optim/optim.h"

static const double BETA2 = 0.999;
static const float EPS = 1e-8f;

VECTOR static void adamw_step(const OptimizerStep *step, size_t count, float *w, const float *g,
                              float *const memory[]) {
    float *restrict m = memory[0], *restrict v = memory[1];
    const double beta1 = step->spec->momentum, t = (double)step->number;
    const float keep = (float)(1 - step->rate * step->spec->weight_decay);
    const float size = (float)(step->rate / (1 - pow(beta1, t)));
    const float root = (float)sqrt(1 - pow(BETA2, t));
    const float b1 = (float)beta1, n1 = (float)(1 - beta1);
    const float b2 = (float)BETA2, n2 = (float)(1 - BETA2);
    for (size_t i = 0; i < count; i++) {
        m[i] = b1 * m[i] + n1 * g[i];
        v[i] = b2 * v[i] + n2 * g[i] * g[i];
        w[i] = keep * w[i] - size * (m[i] / (sqrtf(v[i]) / root + EPS));
    }
}

const OptimizerRule adamw_rule = {
    .name = "adamw",
    .rate = 0.001,
    .averages = true,
    .memories = 2,
    .memory = {"exp_avg", "exp_avg_sq"},
    .step = adamw_step,
};
