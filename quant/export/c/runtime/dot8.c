static int32_t P_dot8(const P_weights_t *w, int32_t o, int32_t at, const uint8_t *x,
                      int32_t count) {
    const int8_t *weight = (const int8_t *)w->weight + at;
    int32_t in_zero = w->in_zero, w_zero = w->w_zero ? w->w_zero[o] : 0, sum = 0, i;
    for (i = 0; i < count; i++) sum += (x[i] - in_zero) * (weight[i] - w_zero);
    return sum;
}
