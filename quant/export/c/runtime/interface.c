void P_codes_from_bytes(const uint8_t *pixels, P_in_t *in) {
    const int32_t positions = P_IN_SIZE / P_IN_CHANNELS;
    int32_t c, p;
    for (c = 0; c < P_IN_CHANNELS; c++)
        for (p = 0; p < positions; p++)
            in[p * P_IN_CHANNELS + c] = P_pixel_code[c * 256 + pixels[c * positions + p]];
}

int P_selftest(void) {
    static uint8_t pixels[P_IN_SIZE];
    static P_in_t in[P_IN_SIZE];
    static P_out_t out[P_OUT_SIZE];
    int32_t test, i;
    for (test = 0; test < P_TESTS; test++) {
        P_test_pixels(test, P_IN_SIZE, pixels);
        P_codes_from_bytes(pixels, in);
        P_run(in, out);
        for (i = 0; i < P_OUT_SIZE; i++)
            if (out[i] != P_test_expected[test * P_OUT_SIZE + i]) return test + 1;
    }
    return 0;
}
