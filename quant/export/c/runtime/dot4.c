/* Two weights in a byte, the first in its lower bits. */
static int32_t P_dot4(const P_weights_t *w, int32_t o, int32_t at, const uint8_t *x,
                      int32_t count) {
    const uint8_t *weight = (const uint8_t *)w->weight;
    int32_t in_zero = w->in_zero, w_zero = w->w_zero ? w->w_zero[o] : 0, sum = 0, i;
    for (i = 0; i < count; i++, at++) {
        int32_t code = weight[at >> 1] >> ((at & 1) * 4) & 15;
        sum += (x[i] - in_zero) * ((code ^ 8) - 8 - w_zero);
    }
    return sum;
}
