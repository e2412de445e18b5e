/* Fully connected. */
static void P_linear(const P_weights_t *w, int32_t outputs, const uint8_t *x, uint8_t *y) {
    int32_t o;
    for (o = 0; o < outputs; o++) y[o] = P_weighted(w, o, w->dot(w, o, o * w->depth, x, w->depth));
}
