/* The mean of each window: an exact sum of x - in_zero, rounded once. */
typedef struct {
    P_window_t window;
    int32_t channels, in_zero;
    P_scale_t scale;
    const int32_t *m0; /* [places + 1] for windows of so many places on the input; 0: all alike */
    const uint8_t *shift; /* likewise */
} P_avgpool_t;

/* Of one channel, at which x begins. */
static uint8_t P_avgpool_at(const P_avgpool_t *p, int32_t d, int32_t h, int32_t w,
                            const uint8_t *x) {
    const P_window_t *a = &p->window;
    P_scale_t s = p->scale;
    int32_t i, j, k, sum = 0, places = 0;
    for (i = 0; i < a->kernel[0]; i++)
        for (j = 0; j < a->kernel[1]; j++)
            for (k = 0; k < a->kernel[2]; k++) {
                int32_t from_d = P_place(a, 0, d, i), from_h = P_place(a, 1, h, j),
                        from_w = P_place(a, 2, w, k);
                if (from_d < 0 || from_h < 0 || from_w < 0) continue;
                from_w += (from_d * a->in[1] + from_h) * a->in[2];
                sum += x[from_w * p->channels] - p->in_zero;
                places++;
            }
    if (p->m0) {
        s.m0 = p->m0[places];
        s.shift = p->shift[places];
    }
    return P_scaled(&s, sum);
}

static void P_avgpool(const P_avgpool_t *p, const uint8_t *x, uint8_t *y) {
    const int32_t *out = p->window.out;
    int32_t d, h, w, c;
    for (d = 0; d < out[0]; d++)
        for (h = 0; h < out[1]; h++)
            for (w = 0; w < out[2]; w++)
                for (c = 0; c < p->channels; c++) *y++ = P_avgpool_at(p, d, h, w, x + c);
}
