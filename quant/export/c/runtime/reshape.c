/* The same values in other channels: with channels first value i stays value i. */
static void P_reshape(int32_t count, int32_t from_positions, int32_t to_positions, const uint8_t *x,
                      uint8_t *y) {
    int32_t from = count / from_positions, to = count / to_positions, i; /* channels */
    for (i = 0; i < count; i++)
        y[i % to_positions * to + i / to_positions] =
            x[i % from_positions * from + i / from_positions];
}
