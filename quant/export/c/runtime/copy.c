static void P_copy(int32_t count, const uint8_t *x, uint8_t *y) {
    int32_t i;
    for (i = 0; i < count; i++) y[i] = x[i];
}
