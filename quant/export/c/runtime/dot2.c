/* Four weights in a byte, the first in its lowest bits. */
static int32_t P_dot2(const P_weights_t *w, int32_t o, int32_t at, const uint8_t *x,
                      int32_t count) {
    const uint8_t *weight = (const uint8_t *)w->weight;
    int32_t in_zero = w->in_zero, w_zero = w->w_zero ? w->w_zero[o] : 0, sum = 0, i;
    for (i = 0; i < count; i++, at++) {
        int32_t code = weight[at >> 2] >> ((at & 3) * 2) & 3;
        sum += (x[i] - in_zero) * ((code ^ 2) - 2 - w_zero);
    }
    return sum;
}
