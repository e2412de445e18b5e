/* A factor and a summand for each channel. */
static void P_batchnorm(const P_weights_t *w, int32_t positions, int32_t channels, const uint8_t *x,
                        uint8_t *y) {
    int32_t p, c;
    for (p = 0; p < positions; p++, x += channels, y += channels)
        for (c = 0; c < channels; c++) y[c] = P_weighted(w, c, w->dot(w, c, c, x + c, 1));
}
