/* The gated recurrent unit as its paper has it (Cho et al. 2014), gates in the order r z n; the
 * reset gate multiplies the state, before the matrix, so that n is late:
 *
 *   r = sigmoid(input_r + recur_r)   z = sigmoid(input_z + recur_z)   m = r h_before, which is kept
 *   n = tanh(input_n + recur_n),  recur_n of m
 *   h = (1 - z) n + z h_before */
#include "autograd/cell.h"

static void begin(const CellStep *s) {
    int H = s->hidden;
    float *r = s->gates, *z = r + H;
    for (int k = 0; k < H; k++) {
        r[k] = cell_sigmoid(r[k] + s->recur[k]);
        z[k] = cell_sigmoid(z[k] + s->recur[H + k]);
        s->memory[k] = r[k] * s->h_before[k];
    }
}

static void forward(const CellStep *s) {
    int H = s->hidden;
    float *z = s->gates + H, *n = z + H;
    for (int k = 0; k < H; k++) {
        n[k] = cell_tanh(n[k] + s->recur[2 * H + k]);
        s->h[k] = (1 - z[k]) * n[k] + z[k] * s->h_before[k];
    }
}

/*   dn = dh (1 - z), with a = input_n + recur_n:   da = dn (1 - n^2) */
static void backward_late(const CellStep *s) {
    int H = s->hidden;
    const float *z = s->gates + H, *n = z + H;
    for (int k = 0; k < H; k++)
        s->dinput[2 * H + k] = s->drecur[2 * H + k] = s->dh[k] * (1 - z[k]) * (1 - n[k] * n[k]);
}

/*   dz = dh (h_before - n)   dr = dm h_before   dh_before = dh z + dm r, and more through the sums
 * m is made anew in each step: no gradient goes from one to the next. */
static void backward(const CellStep *s) {
    int H = s->hidden;
    const float *r = s->gates, *z = r + H, *n = z + H;
    for (int k = 0; k < H; k++) {
        s->dinput[k] = s->drecur[k] = s->dmemory[k] * s->h_before[k] * r[k] * (1 - r[k]);
        s->dinput[H + k] = s->drecur[H + k] =
            s->dh[k] * (s->h_before[k] - n[k]) * z[k] * (1 - z[k]);
        s->dh[k] = s->dh[k] * z[k] + s->dmemory[k] * r[k];
    }
}

const Cell gru_before_cell = {"gru", 3, forward, backward, 1, begin, backward_late};
