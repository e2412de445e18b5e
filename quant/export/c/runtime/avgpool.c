/* The mean of each window: an exact sum of x - in_zero, rounded once. */
typedef struct {
    P_window_t window;
    int32_t channels, in_zero;
    P_scale_t scale;
} P_avgpool_t;

/* Of one channel, at which x begins. */
static int32_t P_avgpool_sum(const P_avgpool_t *p, int32_t d, int32_t h, int32_t w,
                             const uint8_t *x) {
    const P_window_t *a = &p->window;
    int32_t i, j, k, sum = 0;
    for (i = 0; i < a->kernel[0]; i++)
        for (j = 0; j < a->kernel[1]; j++)
            for (k = 0; k < a->kernel[2]; k++) {
                int32_t from_d = P_place(a, 0, d, i), from_h = P_place(a, 1, h, j),
                        from_w = P_place(a, 2, w, k);
                if (from_d < 0 || from_h < 0 || from_w < 0) continue;
                from_w += (from_d * a->in[1] + from_h) * a->in[2];
                sum += x[from_w * p->channels] - p->in_zero;
            }
    return sum;
}

static void P_avgpool(const P_avgpool_t *p, const uint8_t *x, uint8_t *y) {
    const int32_t *out = p->window.out;
    int32_t d, h, w, c;
    for (d = 0; d < out[0]; d++)
        for (h = 0; h < out[1]; h++)
            for (w = 0; w < out[2]; w++)
                for (c = 0; c < p->channels; c++)
                    *y++ = P_scaled(&p->scale, P_avgpool_sum(p, d, h, w, x + c));
}
