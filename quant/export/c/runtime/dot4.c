/* Two weights in a byte, the first in its lower bits; code c is stored as c modulo 16. */
static int32_t P_dot4(const P_weights_t *w, int32_t o, int32_t at, const uint8_t *x,
                      int32_t count) {
    const uint8_t *pair = (const uint8_t *)w->weight + (at >> 1);
    int32_t in_zero = w->in_zero, offset = 8 + (w->w_zero ? w->w_zero[o] : 0), sum = 0;
    if (at & 1) { /* begins in the middle of a byte */
        sum += (*x++ - in_zero) * ((*pair++ >> 4 ^ 8) - offset);
        count--;
    }
    for (; count > 1; count -= 2, x += 2, pair++) {
        sum += (x[0] - in_zero) * (((*pair & 15) ^ 8) - offset);
        sum += (x[1] - in_zero) * ((*pair >> 4 ^ 8) - offset);
    }
    if (count) sum += (x[0] - in_zero) * (((*pair & 15) ^ 8) - offset);
    return sum;
}
