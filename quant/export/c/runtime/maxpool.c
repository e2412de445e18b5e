/* The largest code of each window. */
static void P_maxpool_at(const P_window_t *a, int32_t channels, int32_t d, int32_t h, int32_t w,
                         const uint8_t *x, uint8_t *y) {
    int32_t i, j, k, c, seen = 0;
    for (i = 0; i < a->kernel[0]; i++)
        for (j = 0; j < a->kernel[1]; j++)
            for (k = 0; k < a->kernel[2]; k++) {
                int32_t from_d = P_place(a, 0, d, i), from_h = P_place(a, 1, h, j),
                        from_w = P_place(a, 2, w, k);
                const uint8_t *from;
                if (from_d < 0 || from_h < 0 || from_w < 0) continue;
                from = x + ((from_d * a->in[1] + from_h) * a->in[2] + from_w) * channels;
                for (c = 0; c < channels; c++)
                    if (!seen || from[c] > y[c]) y[c] = from[c];
                seen = 1;
            }
}

static void P_maxpool(const P_window_t *a, int32_t channels, const uint8_t *x, uint8_t *y) {
    int32_t d, h, w;
    for (d = 0; d < a->out[0]; d++)
        for (h = 0; h < a->out[1]; h++)
            for (w = 0; w < a->out[2]; w++, y += channels) P_maxpool_at(a, channels, d, h, w, x, y);
}
