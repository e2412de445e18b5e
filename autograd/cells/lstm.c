/* The long short-term memory (Hochreiter, Schmidhuber 1997; with forget gate: Gers et al. 2000), in
 * PyTorch's order of gates, i f g o, each the sum a = input + recur:
 *
 *   i = sigmoid(a_i)   f = sigmoid(a_f)   g = tanh(a_g)   o = sigmoid(a_o)
 *   c = f c_before + i g                  what the cell remembers
 *   h = o tanh(c) */
#include "autograd/cell.h"

static void forward(const CellStep *s) {
    int H = s->hidden;
    float *i = s->gates, *f = i + H, *g = f + H, *o = g + H;
    for (int k = 0; k < H; k++) {
        i[k] = cell_sigmoid(i[k] + s->recur[k]);
        f[k] = cell_sigmoid(f[k] + s->recur[H + k]);
        g[k] = cell_tanh(g[k] + s->recur[2 * H + k]);
        o[k] = cell_sigmoid(o[k] + s->recur[3 * H + k]);
        s->memory[k] = f[k] * s->memory_before[k] + i[k] * g[k];
        s->h[k] = o[k] * cell_tanh(s->memory[k]);
    }
}

/* With T = tanh(c):
 *   do = dh T      dc += dh o (1 - T^2)      di = dc g   df = dc c_before   dg = dc i
 *   dc_before = dc f;   h_before comes in through the sums alone
 * and through the gates: sigmoid' = s (1 - s), tanh' = 1 - g^2. A sum's parts have its gradient. */
static void backward(const CellStep *s) {
    int H = s->hidden;
    const float *i = s->gates, *f = i + H, *g = f + H, *o = g + H;
    for (int k = 0; k < H; k++) {
        float t = cell_tanh(s->memory[k]);
        float dc = s->dmemory[k] + s->dh[k] * o[k] * (1 - t * t);
        s->dinput[k] = dc * g[k] * i[k] * (1 - i[k]);
        s->dinput[H + k] = dc * s->memory_before[k] * f[k] * (1 - f[k]);
        s->dinput[2 * H + k] = dc * i[k] * (1 - g[k] * g[k]);
        s->dinput[3 * H + k] = s->dh[k] * t * o[k] * (1 - o[k]);
        s->dmemory[k] = dc * f[k];
        s->dh[k] = 0;
    }
    for (int k = 0; k < 4 * H; k++) s->drecur[k] = s->dinput[k];
}

const Cell lstm_cell = {"lstm", 4, forward, backward, 0, NULL, NULL};
