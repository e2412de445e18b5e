/* The definition of the products of planes. */
#include "autograd/kernels/plane.h"

void plane_product__scalar(const Plane *p, const float *w, const float *bias, float *out,
                           bool add) {
    for (int c = 0; c < p->channels; c++)
        for (int y = 0; y < p->lines; y++)
            for (int x = 0; x < p->wide; x++) {
                const float *in = p->in + p->from[y * p->wide] + x;
                float *at = out + (size_t)c * p->step + (size_t)(y * p->wide + x), sum = bias[c];
                for (int t = 0; t < p->taps; t++) sum += w[t * p->w_step + c] * in[p->offset[t]];
                *at = add ? *at + sum : sum;
            }
}

void plane_gradient__scalar(const Plane *p, const float *g, float *dw) {
    for (int c = 0; c < p->channels; c++, g += p->step)
        for (int t = 0; t < p->taps; t++) {
            float sum = 0;
            for (int y = 0; y < p->lines; y++)
                for (int x = 0; x < p->wide; x++)
                    sum += g[y * p->wide + x] * p->in[p->from[y * p->wide] + x + p->offset[t]];
            dw[t * p->w_step + c] += sum;
        }
}
