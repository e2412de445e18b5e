/* The gated recurrent unit (Cho et al. 2014) in PyTorch's form and order of gates, r z n; the reset
 * gate multiplies the state's sum, with its bias b_hn inside:
 *
 *   r = sigmoid(input_r + recur_r)   z = sigmoid(input_z + recur_z)
 *   n = tanh(input_n + r m),  m = recur_n, which is kept
 *   h = (1 - z) n + z h_before */
#include "autograd/cell.h"

static void forward(const CellStep *s) {
    int H = s->hidden;
    float *r = s->gates, *z = r + H, *n = z + H;
    for (int k = 0; k < H; k++) {
        r[k] = cell_sigmoid(r[k] + s->recur[k]);
        z[k] = cell_sigmoid(z[k] + s->recur[H + k]);
        s->memory[k] = s->recur[2 * H + k];
        n[k] = cell_tanh(n[k] + r[k] * s->memory[k]);
        s->h[k] = (1 - z[k]) * n[k] + z[k] * s->h_before[k];
    }
}

/*   dn = dh (1 - z)   dz = dh (h_before - n)   dh_before = dh z, and more through the sums
 *   with a = input_n + r m:   da = dn (1 - n^2)   dr = da m   dm = da r
 * m is made anew in each step: no gradient goes from one to the next. */
static void backward(const CellStep *s) {
    int H = s->hidden;
    const float *r = s->gates, *z = r + H, *n = z + H;
    for (int k = 0; k < H; k++) {
        float da = s->dh[k] * (1 - z[k]) * (1 - n[k] * n[k]);
        s->dinput[k] = s->drecur[k] = da * s->memory[k] * r[k] * (1 - r[k]);
        s->dinput[H + k] = s->drecur[H + k] =
            s->dh[k] * (s->h_before[k] - n[k]) * z[k] * (1 - z[k]);
        s->dinput[2 * H + k] = da;
        s->drecur[2 * H + k] = da * r[k];
        s->dh[k] *= z[k];
    }
}

const Cell gru_cell = {"gru", 3, forward, backward, 0, NULL, NULL};
