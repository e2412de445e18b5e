/* The channels of one of several values, among `all` channels of the result. */
typedef struct {
    int32_t channels, all, in_zero;
    P_scale_t scale;
} P_concat_t;

static void P_concat(const P_concat_t *b, int32_t positions, const uint8_t *x, uint8_t *y) {
    int32_t p, c;
    for (p = 0; p < positions; p++, x += b->channels, y += b->all)
        for (c = 0; c < b->channels; c++) y[c] = P_scaled(&b->scale, x[c] - b->in_zero);
}
